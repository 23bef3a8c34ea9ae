"""`{% load httpapi %}{% service as this %}`: name, description and links of the service, in any template."""

from django import template

from httpapi.service import service

register = template.Library()
register.simple_tag(service)
