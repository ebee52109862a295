"""The HTML pages, which load nothing from other hosts."""

import re

import pytest
from support.service import ROOT, client_of


@pytest.fixture
def client(checkout):
    with client_of(checkout) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/schema"])
def test_page_resources(client, path):
    """Pages load their resources from this service only."""
    page = client.get(path, headers={"accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href|spec-url)="([^"#]+)"', page.text)
    assert named
    for address in named:
        assert client.get(f"/{address.lstrip('.')}").status_code == 200, address
    policy = page.headers["content-security-policy"]
    assert "http" not in policy
    assert "script-src 'self';" in policy


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("text/html, application/json;q=0.5", "text/html; charset=utf-8"),
        ("application/json, text/html;q=0.1", "application/json"),
        ("text/html;q=0, application/json", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_document_or_page(client, accept, media_type):
    """`/schema` is a page for who prefers HTML, and the document for all others."""
    assert client.get("/schema", headers={"accept": accept}).headers["content-type"].startswith(media_type)


def test_console_addresses():
    """The console's files name no other host."""
    for file in (ROOT / "api/console").iterdir():
        if file.is_file():
            assert set(re.findall(r"https?://[^\s\"'<)]+", file.read_text())) <= {"http://www.w3.org/2000/svg"}, file


def test_console_modules(client):
    """Every module that the console imports is served."""
    for file in (ROOT / "api/console").glob("*.js"):
        for module in re.findall(r'from "\./([^"]+)"', file.read_text()):
            answer = client.get(f"/console/{module}")
            assert answer.headers["content-type"].startswith("text/javascript")


def test_caching(client):
    """Pages and their files are revalidated."""
    page = client.get("/console/console.css")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/console/console.css", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
