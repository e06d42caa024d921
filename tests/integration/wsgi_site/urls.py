"""Which view answers what."""

from __future__ import annotations

from django.urls import path
from django.views.static import serve

from tests.integration.wsgi_site import settings, views

urlpatterns = [
    path("", views.index, name="index"),
    path("greet/", views.greet, name="greet"),
    path("upload/", views.upload, name="upload"),
    path("lines/", views.lines, name="lines"),
    path("error/", views.error, name="error"),
    path("static/<path:path>", serve, {"document_root": settings.STATIC_ROOT}),
]
