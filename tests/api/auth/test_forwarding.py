"""Behind a proxy, and below a prefix: its word is taken from where it may be, and links lead back through it."""

from __future__ import annotations

from unittest.mock import MagicMock, Mock

import pytest

from api.auth.forwarding import ForwardingMiddleware
from tests.api.auth.auth_app import build, with_provider
from tests.api.front_end import FrontEnd, accepted, problem
from worker.config.networks import client_address, parse_networks

EVIL = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}


def seen(client, headers, peer="127.0.0.1"):
    """What the service takes for the client's address and for its own."""
    return client.get("/seen", headers=headers, environ_base={"REMOTE_ADDR": peer}).get_json()


@pytest.fixture
def make_client(redis_client):
    def make(**settings):
        from flask import jsonify, request

        app = build(redis_client, **settings)
        app.add_url_rule("/seen", view_func=lambda: jsonify(address=request.remote_addr, root=request.root_url))
        return app.test_client()

    return make


def test_nobody_is_believed_unless_told(make_client):
    assert seen(make_client(), EVIL) == {"address": "127.0.0.1", "root": "http://localhost/"}


def test_a_trusted_network_is_believed_and_no_other(make_client):
    client = make_client(trusted_networks=("198.51.100.0/24",))
    assert seen(client, EVIL, "198.51.100.7") == {"address": "203.0.113.9", "root": "https://evil.example/"}
    assert seen(client, EVIL, "198.51.101.7") == {"address": "198.51.101.7", "root": "http://localhost/"}
    # Flower uses this function alone.
    networks = parse_networks(["198.51.100.0/24"])
    peers = "198.51.100.7", "::ffff:198.51.100.7", "198.51.101.7"
    addresses = [client_address(peer, "203.0.113.9", networks) for peer in peers]
    assert addresses == ["203.0.113.9", "203.0.113.9", "198.51.101.7"]


@pytest.mark.parametrize(
    ("name", "value", "root"),
    [
        ("Proto", "http, https", "https://localhost/"),
        ("Proto", "https, http", "http://localhost/"),
        ("Proto", "ftp", "http://localhost/"),
        ("Host", "client.example, proxy.example:8443", "http://proxy.example:8443/"),
        ("Host", "evil.example/x?", "http://localhost/"),
        ("Prefix", "/storage", "http://localhost/storage/"),
        ("Prefix", "/elsewhere, /storage/", "http://localhost/storage/"),
        ("Prefix", "//evil.example", "http://localhost/"),
        ("Prefix", "/<script>", "http://localhost/"),
        ("Prefix", "storage", "http://localhost/"),
    ],
)
def test_of_each_header_the_nearest_proxy_s_word_counts(make_client, name, value, root):
    client = make_client(trusted_networks=("127.0.0.1",))
    assert seen(client, {f"X-Forwarded-{name}": value})["root"] == root


def test_what_a_client_adds_before_the_proxies_is_not_believed(make_client):
    client = make_client(trusted_networks=("198.51.100.0/24",))
    chain = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 198.51.100.8"}
    assert seen(client, chain, "198.51.100.7")["address"] == "203.0.113.9"


def test_a_count_of_proxies_alone_believes_nobody(make_client, caplog):
    client = make_client(trusted_proxies=1)
    assert seen(client, EVIL, "10.1.2.3") == {"address": "10.1.2.3", "root": "http://localhost/"}
    assert "no proxy is believed" in caplog.text


def test_no_more_proxies_are_believed_than_there_are(make_client):
    client = make_client(trusted_proxies=1, trusted_networks=("10.0.0.0/8",))
    chain = {"X-Forwarded-For": "203.0.113.9, 10.1.1.1"}
    assert seen(client, chain, "10.1.2.3")["address"] == "10.1.1.1"


def test_what_is_no_address_is_nobodys(make_client):
    client = make_client(trusted_networks=("10.0.0.0/8",))
    assert seen(client, {"X-Forwarded-For": "nonsense, 10.1.1.1"}, "10.1.2.3")["address"] == "10.1.1.1"


@pytest.mark.parametrize("public_url", ["https://example.org/storage", "https://example.org/storage/"])
def test_the_public_url_goes_before_what_is_asked(make_client, public_url):
    client = make_client(public_url=public_url)
    assert seen(client, {"Host": "evil.example"}) == {"address": "127.0.0.1", "root": "https://example.org/storage/"}
    assert client.get("/logout?next=/seen").headers["Location"] == "/storage/seen"


def test_browsers_are_sent_back_to_the_public_url(redis_client, provider):
    client = with_provider(redis_client, provider, public_url="https://example.org/storage").test_client()
    leaving = client.get("/login", headers={"Host": "evil.example"}).headers["Location"]
    assert "redirect_uri=https%3A%2F%2Fexample.org%2Fstorage%2Foauth-done" in leaving


class TestPrefix:
    @pytest.fixture
    def client(self, redis_url, redis_client):
        return FrontEnd(redis_url, auth={"public_url": "https://example.org/storage"}).client()

    @pytest.mark.parametrize("before", ["", "/storage"])
    def test_links_lead_through_the_proxy(self, client, before):
        answer = client.post(f"{before}/v4/filer/volumes/db01", json={})
        job = accepted(answer)
        assert job.startswith("/storage/v4/jobs/")
        assert answer.headers["Operation-Location"] == job
        assert answer.json["links"]["self"] == job
        assert client.get(job).json["id"] == answer.json["id"]

    def test_a_path_that_only_begins_like_it_is_not_below_it(self, client):
        problem(client.get("/storagev4/jobs"), 404, "not-found")

    @pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
    def test_names_may_be_written_with_codes_below_it_too(self, client, name):
        sent = {name: "/storage/v4/filer/volumes/%64b01"}
        headers = {"Prefer": "respond-async"}
        accepted(client.get("/storage/v4/filer/volumes/db01", environ_overrides=sent, headers=headers))

    def test_pages_name_their_files_below_it(self, client):
        page = client.get("/").get_data(as_text=True)
        assert 'href="/storage/docs-assets/' in page
        assert '="/docs-assets/' not in page

    @pytest.mark.parametrize("path", ["/", "/problems/not-found", "/console/", "/console/jobs"])
    def test_pages_are_as_long_as_they_say(self, client, path):
        """The prefix makes them longer: a server that is given the former length sends only that much."""
        page = client.get(path, headers={"Accept": "text/html"})
        assert page.content_type.startswith("text/html")
        assert b'"/storage/' in page.data
        assert page.headers.get("Content-Length", str(len(page.data))) == str(len(page.data))

    def test_other_responses_say_how_long_they_are(self, client):
        answer = client.get("/openapi.json")
        assert answer.headers["Content-Length"] == str(len(answer.data))

    def test_what_a_page_holds_is_released(self):
        page = MagicMock()
        page.__iter__.return_value = iter([b'<a href="/">'])

        def application(_environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            return page

        middleware = ForwardingMiddleware(application, networks=(), hops=0, public_url="https://example.org/storage")
        assert list(middleware({}, Mock())) == [b'<a href="/storage/">']
        page.close.assert_called_once_with()

    @pytest.mark.parametrize(
        ("path", "seen_path"),
        [("/storage", "/"), ("/storage/", "/"), ("/storage/a", "/a"), ("/storages", "/storages"), ("/a", "/a")],
    )
    def test_the_application_does_not_see_it(self, path, seen_path):
        names = ("PATH_INFO", "RAW_URI", "REQUEST_URI")
        environ = dict.fromkeys(names, path)
        application = Mock(return_value=[])
        middleware = ForwardingMiddleware(application, networks=(), hops=0, public_url="https://example.org/storage")
        middleware(environ, Mock())
        assert (environ["SCRIPT_NAME"], {environ[name] for name in names}) == ("/storage", {seen_path})

    def test_where_there_is_none_a_server_need_not_say_what_was_sent(self):
        environ = {"PATH_INFO": "/a"}
        application = Mock(return_value=[])
        middleware = ForwardingMiddleware(application, networks=(), hops=0, public_url="https://example.org")
        assert middleware(environ, Mock()) == []
        assert (environ["PATH_INFO"], environ["HTTP_HOST"]) == ("/a", "example.org")

    def test_where_there_is_none_pages_are_handed_on_as_they_are(self):
        page, headers, start = [b'<a href="/">'], [("Content-Type", "text/html"), ("Content-Length", "12")], Mock()

        def application(_environ, start_response):
            start_response("200 OK", headers)
            return page

        assert ForwardingMiddleware(application, networks=(), hops=0, public_url="")({}, start) is page
        start.assert_called_once_with("200 OK", headers)

    @pytest.mark.parametrize(
        "headers",
        [
            [("X-Kind", "text/html"), ("Content-Type", "text/plain"), ("Content-Length", "12")],
            [("Location", "//elsewhere.example.org/a"), ("Content-Length", "12")],
        ],
    )
    def test_what_is_neither_a_page_nor_a_link_to_here_stays_as_it_is(self, headers):
        def application(_environ, start_response):
            start_response("200 OK", headers)
            return [b'<a href="/">']

        start = Mock()
        middleware = ForwardingMiddleware(application, networks=(), hops=0, public_url="https://example.org/storage")
        assert middleware({}, start) == [b'<a href="/">']
        start.assert_called_once_with("200 OK", headers)

    def test_redirects_stay_below_it(self, client):
        for wanted, target in (
            ("/storage/console", "/storage/console"),
            ("/console", "/storage/console"),
            ("/storage", "/storage"),
            ("/storage?a=b", "/storage?a=b"),
            ("/storages", "/storage/storages"),
        ):
            leaving = client.get("/logout", query_string={"next": wanted})
            assert leaving.headers["Location"] == target

    def test_the_next_page_is_below_it(self, client):
        for number in range(3):
            accepted(client.post(f"/v4/filer/volumes/v{number}", json={}))
        assert client.get("/v4/jobs?limit=1").headers["Link"].startswith("</storage/v4/jobs?")

    def test_problems_too(self, client):
        assert problem(client.get("/storage/nothing"), 404, "not-found")["instance"] == "/storage/nothing"


@pytest.mark.parametrize("network", ["10.0.0.0/33", "example.org", "10.0.0.0/8,x"])
def test_what_is_no_network_stops_the_start(make_client, network):
    from worker.config.settings import BadSettings

    with pytest.raises(BadSettings, match="SAPI_TRUSTED_NETWORKS"):
        make_client(trusted_networks=network)


def test_ownership_goes_by_subject_and_not_by_name(redis_client, provider):
    client = with_provider(redis_client, provider).test_client()

    def owner(**claims):
        return client.get("/owner", headers={"Authorization": f"Bearer {provider.token(**claims)}"}).text

    adam = owner(sub="id-of-adam", preferred_username="adam")
    assert owner(sub="id-of-bob", preferred_username="adam") != adam
    assert owner(sub="id-of-adam", preferred_username="renamed") == adam
    assert provider.issuer in adam


def test_browsers_keep_to_tls_where_they_came_by_it(redis_url, redis_client):
    client = FrontEnd(redis_url).client()
    assert "Strict-Transport-Security" not in client.get("/healthz").headers
    for path in ("/healthz", "/", "/nothing", "/v3/nothing/volumes", "/console/"):
        answer = client.get(path, base_url="https://localhost")
        # For a year.
        assert answer.headers["Strict-Transport-Security"] == f"max-age={365 * 24 * 3600}", path


def test_signing_out_clears_what_the_browser_keeps(make_client):
    assert make_client().get("/logout").headers["Clear-Site-Data"] == '"cache", "storage"'
