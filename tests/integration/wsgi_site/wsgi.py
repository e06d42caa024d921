"""The WSGI application, word for word as `django-admin startproject` writes it."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.wsgi_site.settings")

application = get_wsgi_application()
