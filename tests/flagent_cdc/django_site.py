"""A Django site with flagent-cdc beside it under `/flags`, as its `asgi.py` would have it."""

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path, reverse

import flagent_cdc

settings.configure(SECRET_KEY="for tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
django.setup()


def shop(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"the shop is at {reverse('shop')}")


urlpatterns = [path("shop", shop, name="shop")]

# The proxy of this machine names the path that it has removed.
events = flagent_cdc.embed(os.environ["SHOP_DATABASE"], settings={"FLAGENT_CDC_TRUSTED_PROXIES": "127.0.0.1"})
app = events.beside(get_asgi_application(), "/flags")
