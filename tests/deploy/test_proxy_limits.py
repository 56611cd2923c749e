"""The configuration of nginx, as it is written: its limits are those of the manual and of the API."""

from __future__ import annotations

import json
import re

import annotated_types
import yaml

from api.settings import ApiSettings
from api.v3.settings import V3Settings
from tests.deploy.running_proxy import CONFIG
from tests.deploy.stack import ROOT
from worker.catalog.problem_types import PROBLEM_TYPES

_SECONDS = {"s": 1, "m": 60}


def test_a_change_that_an_api_process_may_have_seen_goes_to_no_other() -> None:
    # With `non_idempotent` nginx would send also what changes something again; DELETE and PUT it sends again without.
    assert [line.split()[1:] for line in CONFIG.splitlines() if "proxy_next_upstream " in line] == [
        ["off;"],
        ["error", "timeout;"],
    ]


def test_a_thousand_slow_clients_fit_into_its_memory() -> None:
    ((count, part_kib),) = re.findall(r"^ +proxy_buffers (\d+) (\d+)k;", CONFIG, re.MULTILINE)
    (head_kib,) = re.findall(r"^ +proxy_buffer_size (\d+)k;", CONFIG, re.MULTILINE)
    (body_kib,) = re.findall(r"^ +client_body_buffer_size (\d+)k;", CONFIG, re.MULTILINE)
    sidecar = yaml.safe_load((ROOT / "deploy/kubernetes/components/proxy/api.yaml").read_text("utf-8"))
    (limit_mib,) = [
        int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
        for container in sidecar["spec"]["template"]["spec"]["containers"]
        if container["name"] == "proxy"
    ]
    # Of a reader it was 290 KiB, measured, with everything that nginx and the system have beside these.
    assert 1000 * max(2 * (int(count) * int(part_kib) + int(head_kib)), int(body_kib)) <= limit_mib * 1024


def test_limits_of_connections_and_files_suffice_for_a_front_end() -> None:
    (connections,) = re.findall(r"worker_connections (\d+);", CONFIG)
    (files,) = re.findall(r"^worker_rlimit_nofile (\d+);", CONFIG, re.MULTILINE)
    (of_the_api,) = re.findall(r"GRANIAN_BACKPRESSURE=(\d+)", (ROOT / "Dockerfile.api").read_text("utf-8"))
    # Each client has one to the API, too, and a body or an answer in a file.
    assert int(connections) >= 2 * int(of_the_api)
    assert int(files) >= 2 * int(connections)


def seconds(directive: str) -> int:
    """How long, by the configuration."""
    (value,) = re.findall(rf"^\s*{directive} (?:any )?(\d+[sm]);", CONFIG, re.MULTILINE)
    return int(value[:-1]) * _SECONDS[value[-1]]


def test_slow_clients_have_the_time_that_the_manual_says() -> None:
    manual = " ".join((ROOT / "docs/deployment.md").read_text("utf-8").split())
    documented = re.search(
        r"A head must come within (\d+) seconds, and of a body, and of a reader, something every (\d+) s", manual
    )
    assert documented
    head_s, part_s = map(int, documented.groups())
    assert seconds("client_header_timeout") == head_s
    assert seconds("client_body_timeout") == seconds("send_timeout") == part_s
    # What such a client has not read is let go of at once, and not kept until it has.
    assert "reset_timedout_connection on;" in CONFIG
    assert "asked at most once a second" in manual
    assert seconds("proxy_cache_valid") == 1


def test_the_api_times_out_before_the_proxy_and_an_unreachable_one_is_skipped() -> None:
    longest_s = {
        field: limit.le
        for settings, field in ((ApiSettings, "max_wait"), (V3Settings, "v3_wait"))
        for limit in settings.model_fields[field].metadata
        if isinstance(limit, annotated_types.Le)
    }
    assert len(longest_s) == 2
    assert all(float(str(limit)) < seconds("proxy_read_timeout") for limit in longest_s.values())
    # Clients get an answer within a second or so, that nobody is there: three are tried.
    assert seconds("proxy_connect_timeout") <= 2


#: What nginx answers by itself, with the status that it sends.
PROBLEMS = [(int(status), json.loads(text)) for status, text in re.findall(r"return (\d+) '(\{.*\})'", CONFIG)]


def test_problems_of_the_proxy_have_the_form_of_the_api() -> None:
    coded = [problem for _, problem in PROBLEMS if "code" in problem]
    assert len(coded) >= 5
    for problem in coded:
        kind = PROBLEM_TYPES[problem["code"]]
        expected = (f"/problems/{problem['code']}", kind.title, kind.status)
        assert (problem["type"], problem["title"], problem["status"]) == expected
    assert {problem["type"] for _, problem in PROBLEMS if problem not in coded} == {"about:blank"}
    assert all(status == problem["status"] for status, problem in PROBLEMS)


def test_every_refusal_of_nginx_is_a_problem_with_its_limit() -> None:
    (body_mib,) = re.findall(r"client_max_body_size (\d+)m;", CONFIG)
    (head_kib,) = re.findall(r"large_client_header_buffers \d+ (\d+)k;", CONFIG)
    (headers,) = re.findall(r"max_headers (\d+);", CONFIG)
    expected = {
        400: [],
        404: [],
        408: [f"within {seconds('client_header_timeout')} seconds"],
        413: [f"larger than {body_mib} MiB"],
        414: [f"longer than {head_kib} KiB"],
        # nginx has a status of its own for heads that are too large.
        494: [f"more than {headers}", f"longer than {head_kib} KiB"],
        502: [], 503: [], 504: [],
    }  # fmt: skip
    pages = re.findall(r"error_page ([\d ]+?)(?: =\d+)? \$errors/(\d+);", CONFIG)
    located = {int(status): int(location) for statuses, location in pages for status in statuses.split()}
    assert located.keys() == expected.keys()
    details = {status: problem["detail"] for status, problem in PROBLEMS}
    assert all(words in details[located[status]] for status, texts in expected.items() for words in texts)
    of_v3 = {int(status): words for status, words in re.findall(r'^ +(\d{3}) "(.+)";$', CONFIG, re.MULTILINE)}
    assert of_v3.keys() == set(located.values())
    assert all(words in of_v3[located[status]] for status, texts in expected.items() for words in texts)
