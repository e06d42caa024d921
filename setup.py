"""The part of the packaging that a table can't say; the rest is in ``pyproject.toml``.

Two things have to be so for ``twistd`` to find its plugin. The packages are found under the
project's root named explicitly, or an editable install maps single packages and loses
``twisted/plugins``. And neither ``twisted/`` nor ``twisted/plugins/`` has an ``__init__.py``,
which would overwrite Twisted's own.
"""

from setuptools import find_namespace_packages, setup

setup(
    package_dir={"": "."},
    packages=find_namespace_packages(
        include=["twbridge", "twbridge.*", "twisted.plugins"],
        exclude=["*.__pycache__", "*.__pycache__.*", "twbridge.web.static*"],
    ),
    package_data={"twbridge": ["py.typed"], "twbridge.web": ["static/*", "static/*/*"]},
)
