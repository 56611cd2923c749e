"""The configuration of storage systems: both forms, their round trip, and errors that say what to mend but no value."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage_backends.configuration.options import OPTIONS, OptionValue, build
from storage_backends.configuration.secret import Secret
from storage_backends.configuration.subsystems import ConfigurationError, Subsystem, Subsystems

SECRET = "hunter2"
MANUAL = "dummy🌈DummyStorage🦄netapp🌈NetappStorage🌈username🌈storage-api🌈password🌈myPassword:@;🌈vserver🌈vs3sx50"
NETAPP = f"🌈NetappStorage🌈username🌈api🌈password🌈{SECRET}🌈vserver🌈vs"


def from_text(text: str) -> Subsystems:
    return Subsystems.from_environment({"SAPI_BACKENDS": text})


def from_toml(folder: Path, text: str, **environ: str) -> Subsystems:
    path = folder / "backends.toml"
    path.write_text(text, "utf-8")
    return Subsystems.from_environment({"SAPI_BACKENDS_FILE": str(path), **environ})


class TestText:
    def test_the_manual_s_example(self) -> None:
        subsystems = from_text(MANUAL)

        assert list(subsystems) == ["dummy", "netapp"]
        assert subsystems["dummy"] == Subsystem("dummy", "DummyStorage", {})
        assert subsystems["netapp"] == Subsystem(
            "netapp",
            "NetappStorage",
            {"username": "storage-api", "password": Secret("myPassword:@;"), "vserver": "vs3sx50"},
        )

    def test_whitespace_is_ignored(self) -> None:
        laid_out = f"""
            dummy 🌈\ufe0f DummyStorage 🌈 volumes 🌈 7
            🦄\ufe0f
            netapp 🌈 NetappStorage
                🌈 username 🌈 api
                🌈 password 🌈{SECRET}
                🌈 vserver 🌈 vs
            🦄
        """
        assert from_text(laid_out) == from_text(f"dummy🌈DummyStorage🌈volumes🌈7🦄netapp{NETAPP}")

    @given(password=st.text(st.characters(exclude_characters="🦄🌈\r\n", exclude_categories=["Cs"]), min_size=1))
    def test_passwords_are_verbatim(self, password: str) -> None:
        if password[0] in "\ufe0e\ufe0f":
            password = "x" + password
        text = f"n🌈NetappStorage🌈username🌈api🌈password🌈{password}🌈vserver🌈vs"
        assert from_text(text)["n"].options["password"] == Secret(password)

    def test_options_get_their_type(self) -> None:
        options = from_text("d🌈DummyStorage🌈volumes🌈12🌈list_latency_s🌈2.5🌈latency_s🌈1")["d"].options
        assert options == {"volumes": 12, "list_latency_s": 2.5, "latency_s": 1.0}
        assert from_text(f"n{NETAPP}🌈verify🌈no")["n"].options["verify"] is False
        assert from_text(f"n{NETAPP}🌈verify🌈/etc/ca.pem")["n"].options["verify"] == "/etc/ca.pem"

    def test_one_class_may_have_several_endpoints(self) -> None:
        assert list(from_text(f"one{NETAPP}🦄two{NETAPP}")) == ["one", "two"]


class TestFile:
    def test_secrets_may_be_in_files_and_variables(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        text = """
            [n]
            driver = "NetappStorage"
            username = { env = "FILER_USER" }
            password = { file = "secret" }
            vserver = "vs"
            port = 8443
            [d]
            driver = "DummyStorage"
        """
        subsystems = from_toml(tmp_path, text, FILER_USER="api")

        options = subsystems["n"].options
        assert options == {
            "username": "api",
            "password": Secret(SECRET, file=tmp_path / "secret"),
            "vserver": "vs",
            "port": 8443,
        }
        # Written anew, it still names the file.
        (tmp_path / "again").mkdir()
        again = from_toml(tmp_path / "again", subsystems.to_toml())["n"].options["password"]
        (tmp_path / "secret").write_text("replaced\n")
        assert isinstance(again, Secret)
        assert again.current() == "replaced"
        (tmp_path / "secret").write_text(" in the middle\t \r\n")
        assert again.current() == " in the middle\t "
        (tmp_path / "secret").write_text("replaced\n")
        assert again.current() == "replaced"
        # While it is being written anew it is empty.
        (tmp_path / "secret").write_text("\n")
        assert again.current() == "replaced"
        (tmp_path / "secret").unlink()
        assert again.current() == "replaced"
        assert list(subsystems) == ["n", "d"]

    @given(
        password=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        timeout_s=st.floats(min_value=1e-9, allow_infinity=False),
        verify=st.booleans(),
    )
    @example(password="🦄\"\\'\x00\x1f\x7f\r\n\t\u2028", timeout_s=1e22, verify=True)
    def test_a_written_file_is_read_back(self, password: str, timeout_s: float, verify: bool) -> None:
        options: dict[str, OptionValue] = {
            "username": "ä 🦄",
            "password": Secret(password),
            "vserver": "v",
            "timeout_s": timeout_s,
            "verify": verify,
        }
        subsystems = Subsystems(
            (Subsystem("Net-app_1", "NetappStorage", options), Subsystem("d", "DummyStorage", {"volumes": 3}))
        )
        with TemporaryDirectory() as folder:
            assert from_toml(Path(folder), subsystems.to_toml()) == subsystems

    def test_values_that_toml_cannot_represent_are_refused(self) -> None:
        with pytest.raises(ConfigurationError):
            from_text(f"n🌈NetappStorage🌈username🌈api🌈password🌈\udc80{SECRET}🌈vserver🌈vs").to_toml()


class TestNames:
    def test_are_read_without_options(self, tmp_path: Path) -> None:
        path = tmp_path / "backends.toml"
        path.write_text('[n]\ndriver = "NetappStorage"\npassword = { file = "/nowhere" }\nnonsense = []\n')

        assert Subsystems.names_from_environment({"SAPI_BACKENDS_FILE": str(path)}) == ("n",)
        assert Subsystems.names_from_environment({"SAPI_BACKENDS": "n🌈NetappStorage🦄d🌈DummyStorage"}) == ("n", "d")

    def test_are_read_from_the_folder_of_secrets(self, tmp_path: Path) -> None:
        (tmp_path / "backends.toml").write_text('[n]\ndriver = "DummyStorage"\n')
        folder = {"SAPI_SECRETS_DIR": str(tmp_path)}

        assert Subsystems.drivers_from_environment(folder) == {"n": "DummyStorage"}
        assert Subsystems.names_from_environment({**folder, "SAPI_BACKENDS": "d🌈DummyStorage"}) == ("d",)
        (tmp_path / "other.toml").write_text('[o]\ndriver = "DummyStorage"\n')
        other = {**folder, "SAPI_BACKENDS_FILE": str(tmp_path / "other.toml")}
        assert Subsystems.names_from_environment(other) == ("o",)
        # A variable that is blank is not set.
        for sources, name in ((folder, "n"), (other, "o")):
            assert Subsystems.names_from_environment({**sources, "SAPI_BACKENDS": " \n"}) == (name,)

    def test_are_not_read_from_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "backends.toml").write_text('[n]\ndriver = "DummyStorage"\n')
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError):
            Subsystems.names_from_environment({})

    @pytest.mark.parametrize("text", ["", "d", "d🌈Nothing", "d🌈DummyStorage🦄d🌈DummyStorage", "jobs🌈DummyStorage"])
    def test_invalid_names_are_refused(self, text: str) -> None:
        with pytest.raises(ConfigurationError):
            Subsystems.names_from_environment({"SAPI_BACKENDS": text})


def test_representations_contain_no_secret() -> None:
    subsystems = from_text(f"n{NETAPP}")
    assert SECRET not in f"{subsystems!r} {subsystems} {subsystems['n']!r} {subsystems['n']}"


BAD_TEXTS = {
    "": "no back-end is configured: set SAPI_BACKENDS",
    " 🦄 \n": "no back-end is configured",
    "dummy": "back-end 1 of SAPI_BACKENDS has no class",
    "dummy🌈": "has no class",
    f"d🌈DummyStorage🦄n🌈Netapp🌈password🌈{SECRET}": "back-end 2 .* class Netapp: .* of DummyStorage, NetappStorage",
    f"n🌈NetappStorage🌈password🌈{SECRET}🌈vserver": "options are odd",
    f"n🌈NetappStorage🌈username🌈password🌈{SECRET}🌈vserver": "option 2 is not known; NetappStorage takes username",
    f"n🌈NetappStorage🌈username🌈a🌈password🌈{SECRET}": "vserver: Field required",
    f"n{NETAPP}🌈password🌈{SECRET}": "option password is there twice",
    f"n{NETAPP}🌈port🌈{SECRET}": "port: Input should be a valid integer",
    f"n{NETAPP}🌈port🌈0": "port: Input should be greater than or equal to 1",
    f"n{NETAPP}🌈port🌈65536": "port: Input should be less than or equal to 65535",
    f"n{NETAPP}🌈timeout_s🌈0": "timeout_s: Input should be greater than 0",
    f"n{NETAPP}🌈max_connections🌈0": "max_connections: Input should be greater than 0",
    "n🌈NetappStorage🌈username🌈u🌈password🌈🌈vserver🌈v": "password must not be empty",
    "n🌈NetappStorage🌈username🌈u🌈password🌈p🌈vserver🌈": "vserver must not be empty",
    f"n{NETAPP}🌈timeout_s🌈nan": "timeout_s: Input should be a finite number",
    f"n{NETAPP}🌈scheme🌈{SECRET}": "scheme: Input should be 'https' or 'http'",
    f"n{NETAPP}🦄N{NETAPP}": "endpoint N is there twice",
    f"N{NETAPP}🦄n{NETAPP}": "endpoint n is there twice",
    "d🌈DummyStorage🌈volumes🌈200001": "volumes must be 0 to 200000",
    "d🌈DummyStorage🌈latency_s🌈inf": "latency_s: Input should be a finite number",
    "d🌈DummyStorage🌈snapshot_limit🌈-1": "snapshot_limit: Input should be greater than or equal to 0",
    "d🌈DummyStorage🌈latency_s🌈-1": "latency_s: Input should be greater than or equal to 0",
    f"d🌈{SECRET}/a": "unknown back-end class: it must be one of",
    "jobs🌈DummyStorage": "jobs cannot be an endpoint's name",
    "Jobs🌈DummyStorage": "Jobs cannot be an endpoint's name",
    "batches🌈DummyStorage": "batches cannot be an endpoint's name",
    "EVENTS🌈DummyStorage": "EVENTS cannot be an endpoint's name",
    f"{SECRET}/a🌈DummyStorage": "bad endpoint name",
    "é🌈DummyStorage": "bad endpoint name",
    "a" * 64 + "🌈DummyStorage": "bad endpoint name",
}

BAD_FILES = {
    "": "no back-end is configured",
    f'[n]\npassword = "{SECRET}': r"is not TOML \(at",
    f'password = "{SECRET}"': "'password' stands outside a table",
    f'[n]\npassword = "{SECRET}"': "add a line such as driver",
    '[n]\ndriver = "Nothing"': "unknown back-end class Nothing",
    '[n]\ndriver = "DummyStorage"\nvolumes = [1]': "volumes must be a plain value",
    '[n]\ndriver = "DummyStorage"\nvolumes = true': "volumes: must be a number",
    '[n]\ndriver = "DummyStorage"\nstate_dir = 5': "state_dir: Input should be a valid string",
    f'[n]\ndriver = "DummyStorage"\nstate_dir = {{ file = "/{SECRET}" }}': "the file for state_dir cannot be read",
    f'[n]\ndriver = "DummyStorage"\nstate_dir = {{ env = "{SECRET}" }}': "variable for state_dir is not set",
    '[n]\ndriver = "DummyStorage"\nstate_dir = { env = "A", file = "B" }': "must be a plain value",
    f'[n]\ndriver = "DummyStorage"\n{SECRET} = 1': "option 1 is not known",
    '["a/b"]\ndriver = "DummyStorage"': "bad endpoint name",
    '["a\\nb"]\ndriver = "DummyStorage"': "bad endpoint name",
    '"a\\nb" = 1': "stands outside a table",
}


NUMBERS = [
    (driver, name)
    for driver, options in OPTIONS.items()
    for name, option in options.model_fields.items()
    if option.annotation in (int, float)
]


class TestErrors:
    @pytest.mark.parametrize(("text", "message"), BAD_TEXTS.items())
    def test_invalid_text_is_refused(self, text: str, message: str) -> None:
        self.check({"SAPI_BACKENDS": text}, message)

    @pytest.mark.parametrize(("text", "message"), BAD_FILES.items())
    def test_an_invalid_file_is_refused(self, text: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "backends.toml").write_text(text)
        self.check({"SAPI_BACKENDS_FILE": str(tmp_path / "backends.toml")}, message)

    @pytest.mark.parametrize(("driver", "name"), NUMBERS)
    def test_a_boolean_is_refused_as_a_number(self, driver: str, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name}: must be a number"):
            build(driver, {name: True})

    def test_exactly_one_source_is_required(self, tmp_path: Path) -> None:
        self.check({}, "no back-end is configured")
        self.check({"SAPI_BACKENDS": MANUAL, "SAPI_BACKENDS_FILE": "f"}, "both set: unset one")
        self.check({"SAPI_BACKENDS_FILE": str(tmp_path / "none")}, "cannot be read")
        (tmp_path / "bytes").write_bytes(b"\xff")
        self.check({"SAPI_BACKENDS_FILE": str(tmp_path / "bytes")}, "is not UTF-8 text")

    def check(self, environ: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message) as refusal:
            Subsystems.from_environment(environ)
        assert "\n" not in str(refusal.value)
        assert SECRET not in str(refusal.value)
        # What a traceback would show besides must not hold it either.
        assert refusal.value.__cause__ is None
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


def test_a_subsystem_cannot_be_changed() -> None:
    subsystem = from_text(MANUAL)["netapp"]
    with pytest.raises(TypeError):
        subsystem.options["password"] = "other"  # type: ignore[index]


def test_options_are_not_shown_by_repr():
    assert "geheim" not in repr(
        Subsystem("netapp", "NetappStorage", {"password": "geheim", "secret": Secret("geheim")})
    )
    assert "geheim" not in repr(Secret("geheim"))


def test_the_file_of_a_secret_is_stored_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("first")
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    secret = Secret.from_file(Path("secret"))
    monkeypatch.chdir(elsewhere)
    (tmp_path / "secret").write_text("second")
    assert (secret.current(), secret.file) == ("second", tmp_path / "secret")
