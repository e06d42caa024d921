"""A Django project in a few files, as `django-admin startproject` lays it out."""
