"""Behind a proxy, and below a prefix: forwarded headers are used from trusted proxies, and links have the prefix."""

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


def test_forwarded_headers_are_ignored_by_default(make_client):
    assert seen(make_client(), EVIL) == {"address": "127.0.0.1", "root": "http://localhost/"}


def test_forwarded_headers_are_used_from_trusted_networks_only(make_client):
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
def test_of_each_header_the_value_of_the_nearest_proxy_is_used(make_client, name, value, root):
    client = make_client(trusted_networks=("127.0.0.1",))
    assert seen(client, {f"X-Forwarded-{name}": value})["root"] == root


def test_the_forwarded_scheme_takes_precedence_over_that_of_the_connection(make_client):
    client = make_client(trusted_networks=("127.0.0.1",))
    answer = client.get("/seen", base_url="https://localhost", headers={"X-Forwarded-Proto": "http"})
    assert answer.get_json()["root"] == "http://localhost/"


def test_forwarded_addresses_added_by_the_client_are_ignored(make_client):
    client = make_client(trusted_networks=("198.51.100.0/24",))
    chain = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 198.51.100.8"}
    assert seen(client, chain, "198.51.100.7")["address"] == "203.0.113.9"


def test_a_number_of_proxies_without_networks_trusts_none(make_client, caplog):
    client = make_client(trusted_proxies=1)
    assert seen(client, EVIL, "10.1.2.3") == {"address": "10.1.2.3", "root": "http://localhost/"}
    assert "no proxy is believed" in caplog.text


def test_no_more_proxies_are_trusted_than_configured(make_client):
    client = make_client(trusted_proxies=1, trusted_networks=("10.0.0.0/8",))
    chain = {"X-Forwarded-For": "203.0.113.9, 10.1.1.1"}
    assert seen(client, chain, "10.1.2.3")["address"] == "10.1.1.1"


def test_a_malformed_forwarded_address_is_not_used(make_client):
    client = make_client(trusted_networks=("10.0.0.0/8",))
    assert seen(client, {"X-Forwarded-For": "nonsense, 10.1.1.1"}, "10.1.2.3")["address"] == "10.1.1.1"


@pytest.mark.parametrize("public_url", ["https://example.org/storage", "https://example.org/storage/"])
def test_the_public_url_takes_precedence_over_the_host_header(make_client, public_url):
    client = make_client(public_url=public_url)
    assert seen(client, {"Host": "evil.example"}) == {"address": "127.0.0.1", "root": "https://example.org/storage/"}
    behind_proxy = make_client(public_url=public_url, trusted_networks=("198.51.100.0/24",))
    expected = {"address": "203.0.113.9", "root": "https://example.org/storage/"}
    assert seen(behind_proxy, EVIL, "198.51.100.7") == expected
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
    def test_links_begin_with_the_prefix(self, client, before):
        answer = client.post(f"{before}/v4/filer/volumes/db01", json={})
        job = accepted(answer)
        assert job.startswith("/storage/v4/jobs/")
        assert answer.headers["Operation-Location"] == job
        assert answer.json["links"]["self"] == job
        assert client.get(job).json["id"] == answer.json["id"]

    def test_a_path_that_only_starts_with_the_same_characters_is_not_below_the_prefix(self, client):
        problem(client.get("/storagev4/jobs"), 404, "not-found")

    @pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
    def test_percent_encoded_names_are_decoded_below_the_prefix(self, client, name):
        sent = {name: "/storage/v4/filer/volumes/%64b01"}
        headers = {"Prefer": "respond-async"}
        accepted(client.get("/storage/v4/filer/volumes/db01", environ_overrides=sent, headers=headers))

    def test_pages_reference_their_assets_below_the_prefix(self, client):
        page = client.get("/").get_data(as_text=True)
        assert 'href="/storage/docs-assets/' in page
        assert '="/docs-assets/' not in page

    @pytest.mark.parametrize("path", ["/", "/problems/not-found", "/console/", "/console/jobs"])
    def test_content_length_of_pages_is_that_of_the_rewritten_body(self, client, path):
        """The prefix makes them longer: a server that is given the former length sends only that much."""
        page = client.get(path, headers={"Accept": "text/html"})
        assert page.content_type.startswith("text/html")
        assert b'"/storage/' in page.data
        assert page.headers.get("Content-Length", str(len(page.data))) == str(len(page.data))

    def test_other_responses_have_their_content_length(self, client):
        answer = client.get("/openapi.json")
        assert answer.headers["Content-Length"] == str(len(answer.data))

    def test_the_iterable_of_a_rewritten_page_is_closed(self):
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
    def test_the_application_gets_paths_without_the_prefix(self, path, seen_path):
        names = ("PATH_INFO", "RAW_URI", "REQUEST_URI")
        environ = dict.fromkeys(names, path)
        application = Mock(return_value=[])
        middleware = ForwardingMiddleware(application, networks=(), hops=0, public_url="https://example.org/storage")
        middleware(environ, Mock())
        assert (environ["SCRIPT_NAME"], {environ[name] for name in names}) == ("/storage", {seen_path})

    def test_without_a_prefix_no_raw_uri_is_needed(self):
        environ = {"PATH_INFO": "/a"}
        application = Mock(return_value=[])
        middleware = ForwardingMiddleware(application, networks=(), hops=0, public_url="https://example.org")
        assert middleware(environ, Mock()) == []
        assert (environ["PATH_INFO"], environ["HTTP_HOST"]) == ("/a", "example.org")

    def test_without_a_prefix_pages_are_not_rewritten(self):
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
    def test_other_content_and_external_links_are_not_rewritten(self, headers):
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

    def test_link_headers_of_pages_have_the_prefix(self, client):
        for number in range(3):
            accepted(client.post(f"/v4/filer/volumes/v{number}", json={}))
        assert client.get("/v4/jobs?limit=1").headers["Link"].startswith("</storage/v4/jobs?")

    def test_instances_of_problems_have_the_prefix(self, client):
        assert problem(client.get("/storage/nothing"), 404, "not-found")["instance"] == "/storage/nothing"


@pytest.mark.parametrize("network", ["10.0.0.0/33", "example.org", "10.0.0.0/8,x"])
def test_an_invalid_trusted_network_stops_the_start(make_client, network):
    from worker.config.settings import BadSettings

    with pytest.raises(BadSettings, match="SAPI_TRUSTED_NETWORKS"):
        make_client(trusted_networks=network)


def test_jobs_belong_to_the_subject_and_not_to_the_name(redis_client, provider):
    client = with_provider(redis_client, provider).test_client()

    def owner(**claims):
        return client.get("/owner", headers={"Authorization": f"Bearer {provider.token(**claims)}"}).text

    adam = owner(sub="id-of-adam", preferred_username="adam")
    assert owner(sub="id-of-bob", preferred_username="adam") != adam
    assert owner(sub="id-of-adam", preferred_username="renamed") == adam
    assert provider.issuer in adam


def test_hsts_is_sent_over_tls_only(redis_url, redis_client):
    client = FrontEnd(redis_url).client()
    assert "Strict-Transport-Security" not in client.get("/healthz").headers
    for path in ("/healthz", "/", "/nothing", "/v3/nothing/volumes", "/console/"):
        answer = client.get(path, base_url="https://localhost")
        # For a year.
        assert answer.headers["Strict-Transport-Security"] == f"max-age={365 * 24 * 3600}", path


def test_signing_out_clears_the_data_of_the_browser(make_client):
    assert make_client().get("/logout").headers["Clear-Site-Data"] == '"cache", "storage"'
