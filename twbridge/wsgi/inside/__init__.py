"""A child of a WSGI worker: the process in which the application runs (PEP 3333).

::

    main.py: loading.py, then for each lane of lane.py: serving.py
        environ.py      what the application is told of a request
        input.py        wsgi.input
        answering.py    start_response, write, and what the application returns
        files.py        wsgi.file_wrapper

Each thread reads the pipe of its own lane, and only when it needs what is there. It imports no
reactor.
"""
