"""Self-contained pages: one HTML file that loads nothing from elsewhere and runs nothing."""

from __future__ import annotations

from html import escape
from importlib.resources import files

CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)


def stylesheet() -> str:
    """The style that all pages have."""
    return (files("robolearn.review") / "page" / "page.css").read_text("utf-8")


def document(title: str, main: str, css: str) -> str:
    """The page. title: text.  main: HTML of its only part.  css: in addition to the style that all pages have."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_POLICY}"><title>{escape(title)}</title>'
        f"<style>{stylesheet()}{css}</style></head><body><main>{main}</main></body></html>\n"
    )
