"""What all written pages share: palette and base style, wording, templates, pictures."""

from platemill.pages.style import BASE_STYLE, icon_bytes, icon_url, style_of
from platemill.pages.templates import template_environment

__all__ = ["BASE_STYLE", "icon_bytes", "icon_url", "style_of", "template_environment"]
