"""Tiers from their tables: each type, each mistake, and no secret in what is said of it."""

from __future__ import annotations

import base64
import importlib
import json
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trio

from ipfs_kit_py.core.config import MAX_TIER_ITEMS, NodeConfig
from ipfs_kit_py.core.errors import ConfigError
from ipfs_kit_py.crypto.keys import PrivateKey
from ipfs_kit_py.node.assembly import open_node
from ipfs_kit_py.storage.remote.build import GROUP, OWN, TierContext, build_tier, build_tiers, known_types
from ipfs_kit_py.storage.remote.build_own import agent_key
from ipfs_kit_py.storage.remote.build_records import KeptDataSet, RootFiles
from ipfs_kit_py.storage.remote.build_spec import TierSpec
from ipfs_kit_py.storage.remote.cluster.tier import ClusterTier
from ipfs_kit_py.storage.remote.filecoin.pdp_store import Deposit
from ipfs_kit_py.storage.remote.filecoin.pinning import PinningTier
from ipfs_kit_py.storage.remote.filecoin.tier import FilecoinTier
from ipfs_kit_py.storage.remote.gateway.tier import GatewayTier
from ipfs_kit_py.storage.remote.kubo.tier import KuboTier
from ipfs_kit_py.storage.remote.storacha.did import did_of
from ipfs_kit_py.storage.remote.storacha.tier import StorachaTier
from ipfs_kit_py.storage.remote.storacha.ucan import Capability, Delegation, issue, proof_text
from test.remote.dags import block

URL = "http://127.0.0.1:5001"
KEEPER = "0x" + "0a" * 20
SECRET = "open-sesame-42"


def context(folder: Path | None = None, **environment: str) -> TierContext:
    return TierContext(rng=random.Random(1), folder=folder, environment=environment)


def build(table: dict[str, Any], folder: Path | None = None, **environment: str) -> Any:
    return build_tier(table, context(folder, **environment))


def multibase(key: PrivateKey) -> str:
    """As ``ed25519.format`` of npm's @ucanto/principal writes it."""
    secret, public = key.encode()[4:36], key.encode()[36:]
    return "M" + base64.b64encode(b"\x80\x26" + secret + b"\xed\x01" + public).decode()


def storacha_table() -> dict[str, Any]:
    agent, space = PrivateKey.generate(), PrivateKey.generate()
    right = Capability("*", did_of(space.public_key), {})
    proof = Delegation(issue(space, did_of(agent.public_key), [right], expires=None))
    return {
        "type": "storacha", "endpoint": URL, "service": did_of(PrivateKey.generate().public_key),
        "agent": multibase(agent), "proofs": [proof_text(proof)],
    }  # fmt: skip


# --- each type --------------------------------------------------------------------------------------------------------
def test_a_gateway_without_urls_is_the_one_that_the_user_prefers(tmp_path: Path) -> None:
    assert "gw.example" in repr(build({"type": "gateway"}, IPFS_GATEWAY="https://gw.example"))
    with pytest.raises(ConfigError, match=r"urls is missing, and neither \$IPFS_GATEWAY"):
        build({"type": "gateway"}, HOME=str(tmp_path))


def test_types_with_what_they_need_alone() -> None:
    tables: list[tuple[dict[str, Any], type]] = [
        ({"type": "kubo", "endpoint": URL}, KuboTier),
        ({"type": "gateway", "urls": [URL]}, GatewayTier),
        ({"type": "ipfs_cluster", "endpoint": URL}, ClusterTier),
        ({"type": "pinning", "endpoint": URL}, PinningTier),
        (storacha_table(), StorachaTier),
        ({"type": "filecoin", "pieces": [URL]}, FilecoinTier),
    ]
    tiers = build_tiers([table for table, _kind in tables], context())
    assert {table["type"] for table, _kind in tables} == set(known_types())
    assert [type(tier) for tier in tiers] == [kind for _table, kind in tables]
    assert [tier.name for tier in tiers] == [table["type"] for table, _kind in tables]


def test_types_with_all_that_they_take(tmp_path: Path) -> None:
    kubo = {"name": "k", "offline": True, "user": "a", "password": "b", "seconds": 3, "connections": 2}
    assert build({"type": "kubo", "endpoint": URL, **kubo}).seconds == 3.0
    assert build({"type": "gateway", "name": "g", "urls": [URL], "tokens": {URL: "t"}, "seconds": 1.5}).seconds == 1.5
    pinning = {"token": "t", "meta": {"a": "b"}, "wait": 5, "seconds": 5}
    assert build({"type": "pinning", "name": "p", "endpoint": URL, **pinning}).name == "p"
    table = storacha_table()
    more = {"claims": URL, "receipts": URL, "hosts": ["one.example"], "shard_bytes": 1 << 24, "wait": 9, "seconds": 9}
    tier = build({**table, **more, "name": "s"}, tmp_path)
    assert tier.agent == did_of(agent_key(TierSpec(table, {}), "agent").public_key)
    assert (tmp_path / "storacha-s" / "uploads").is_dir()


def test_filecoin_by_its_parts(tmp_path: Path) -> None:
    pdp = {"endpoint": URL, "token": "t", "key": "07" * 32, "contract": KEEPER, "chain": 314159, "payee": KEEPER}
    table = {
        "type": "filecoin", "name": "a/b", "gateway": {"urls": [URL]}, "pieces": [URL], "pdp": pdp,
        "chain": {"endpoint": URL},
    }  # fmt: skip
    tier = build(table, tmp_path)
    assert tier.verbs == {"get", "get_dag", "has", "put", "remove", "status"}
    assert [path.name for path in tmp_path.iterdir()] == ["filecoin-a%2Fb"]
    one = block(b"put").cid
    tier.know(Deposit(one, (), data_set=3))
    assert build(table, tmp_path).deposits[one] == Deposit(one, (), data_set=3)
    assert build({"type": "filecoin", "pinning": {"endpoint": URL}}).verbs == {"put", "remove", "status", "has"}
    assert build({"type": "filecoin", "chain": {"endpoint": URL}}).verbs == {"status"}


def test_our_own_types_are_registered_as_those_of_other_packages_are() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == OWN


# --- what is remembered -----------------------------------------------------------------------------------------------
def test_files_by_root(tmp_path: Path) -> None:
    files: RootFiles[Any] = RootFiles(tmp_path / "x", json.dumps, json.loads)
    one, two = block(b"1").cid, block(b"2").cid
    files[one] = [1]
    files[two] = [2]
    files[one] = [3]
    assert {cid: files[cid] for cid in files} == {one: [3], two: [2]}
    again: RootFiles[Any] = RootFiles(tmp_path / "x", json.dumps, json.loads)
    assert (again[one], len(again), one in again) == ([3], 2, True)
    del again[one]
    assert one not in files
    with pytest.raises(KeyError):
        del files[one]
    (tmp_path / "x" / "strange.json").write_text("?")
    assert list(files) == [two]


def test_a_damaged_record_is_as_none(tmp_path: Path) -> None:
    files = RootFiles(tmp_path, Deposit.to_json, Deposit.from_json)
    one = block(b"1").cid
    files[one] = Deposit(one, ())
    (tmp_path / f"{one}.json").write_text("{")
    assert files.get(one) is None


def test_the_open_data_set_lasts(tmp_path: Path) -> None:
    kept = KeptDataSet.at(tmp_path / "set")
    kept.creating, kept.client = "0x1", 77
    kept.number = 5
    again = KeptDataSet.at(tmp_path / "set")
    assert (again.number, again.client, again.creating) == (5, 77, "0x1")
    (tmp_path / "set").write_text("[]")
    with pytest.raises(ConfigError, match="which data set is open"):
        KeptDataSet.at(tmp_path / "set")


# --- variables --------------------------------------------------------------------------------------------------------
def test_variables_come_from_the_environment() -> None:
    spec = TierSpec({"type": "x", "a": "${ONE}-${TWO}", "b": ["${ONE}"], "c": {"d": "${TWO}"}}, {"ONE": "1", "TWO": ""})
    assert (spec.text("a"), spec.texts("b"), spec.pairs("c")) == ("1-", ("1",), {"d": ""})


def test_a_value_from_the_environment_is_taken_as_it_is() -> None:
    assert TierSpec({"type": "x", "a": "${ONE}"}, {"ONE": "${TWO} $x"}).text("a") == "${TWO} $x"


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPFS_KIT_TEST_URL", URL)
    tier = build_tier({"type": "kubo", "endpoint": "${IPFS_KIT_TEST_URL}"}, TierContext(rng=random.Random(1)))
    assert URL in repr(tier)


@pytest.mark.parametrize("text", ["${}", "${not a name}", "${unclosed", "a${ONE}b${"])
def test_what_begins_no_variable(text: str) -> None:
    with pytest.raises(ConfigError, match=r"tier x: the key a has \$\{ that begins no variable"):
        TierSpec({"type": "x", "a": text}, {"ONE": "1"}).text("a")


# --- mistakes ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"type": "nothing"}, "tier nothing: there is no type 'nothing'; types are: kubo, gateway"),
        ({"type": "kubo"}, "tier kubo: the key endpoint is missing: it is a text"),
        ({"type": "kubo", "name": "k", "endpoint": 5}, "tier k: the key endpoint must be a text, not of type int"),
        ({"type": "kubo", "endpoint": URL, "endpiont": "x"}, "tier kubo: the key endpiont is unknown; keys there are"),
        ({"type": "kubo", "endpoint": "ftp://x"}, "tier kubo: an endpoint is a URL"),
        ({"type": "kubo", "endpoint": URL, "offline": "yes"}, "the key offline must be true or false"),
        ({"type": "kubo", "endpoint": URL, "seconds": 0}, "the key seconds must be a number above 0"),
        ({"type": "kubo", "endpoint": URL, "seconds": True}, "the key seconds must be a number above 0"),
        ({"type": "kubo", "endpoint": URL, "seconds": float("nan")}, "the key seconds must be a number above 0"),
        ({"type": "kubo", "endpoint": URL, "seconds": float("inf")}, "the key seconds must be a number above 0"),
        ({"type": "kubo", "endpoint": URL, "connections": 0}, "must be a whole number of 1 to 256"),
        ({"type": "kubo", "endpoint": URL, "connections": True}, "must be a whole number, not of type bool"),
        ({"type": "kubo", "endpoint": URL, "user": "u"}, "the key password is missing"),
        ({"type": "kubo", "endpoint": URL, "password": SECRET}, "the key user is missing"),
        ({"type": "kubo", "endpoint": "${NO}"}, "endpoint names the environment variable NO, which is not set"),
        ({"type": "gateway", "urls": URL}, "the key urls must be a list of texts, not of type str"),
        ({"type": "gateway", "urls": [URL, 5]}, "the key urls must be a list"),
        ({"type": "gateway", "urls": [URL] * (MAX_TIER_ITEMS + 1)}, "the key urls must be a list"),
        ({"type": "gateway", "urls": []}, "tier gateway: a gateway tier takes 1 to"),
        ({"type": "gateway", "urls": [URL], "tokens": {URL: 5}}, f"the key tokens.{URL} must be a text"),
        ({"type": "gateway", "urls": [URL], "tokens": "x"}, "the key tokens must be a table"),
        ({"type": "ipfs_cluster", "endpoint": URL, "replication_min": -2}, "the key replication_min must be a whole"),
        ({"type": "ipfs_cluster", "endpoint": URL, "replication_min": 3, "replication_max": 2}, "is more than that of"),
        ({"type": "ipfs_cluster", "endpoint": URL, "jwt": True}, "tier ipfs_cluster: a token is fetched with user"),
        ({"type": "filecoin"}, "tier filecoin: a Filecoin tier needs one of the tables"),
        ({"type": "filecoin", "gateway": {"urls": [URL], "x": 1}}, "the key gateway.x is unknown"),
        ({"type": "filecoin", "gateway": {"urls": [URL], "type": "gateway"}}, "the key gateway.type is unknown"),
        ({"type": "filecoin", "pdp": {"endpoint": URL, "key": "07" * 32}}, "the key pdp.contract is missing"),
        (
            {"type": "filecoin", "pdp": {"endpoint": URL, "key": "07" * 32, "contract": KEEPER}},
            "the key pdp.chain is missing",
        ),
        (
            {"type": "filecoin", "pdp": {"endpoint": URL}, "pinning": {"endpoint": URL}},
            "the key pinning cannot be there besides pdp",
        ),
    ],
)
def test_mistakes_are_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(table)
    assert said in str(caught.value)
    assert str(caught.value).startswith("tier ")
    assert SECRET not in str(caught.value)


PLUG_IN = """
closed = []
class Tier:
    verbs = frozenset({"get"})
    def __init__(self, name): self.name = name
    async def aclose(self): closed.append(self.name)
def good(spec, context): return Tier(spec.name)
def none(spec, context): return None
def other(spec, context): return Tier("other")
def full(spec, context): raise OSError(28, "No space left on device")
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package with tiers of its own, as one that is installed."""
    (tmp_path / "plugged.py").write_text(PLUG_IN)
    about = tmp_path / "plugged-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
    points = "".join(f"{name} = plugged:{name}\n" for name in ("good", "none", "other", "full"))
    (about / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("plugged")
    del sys.modules["plugged"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("none", "tier none: it cannot be made: AttributeError"),
        ("full", "tier full: it cannot be made: OSError: [Errno 28] No space left on device"),
        ("other", "tier other: "),
    ],
)
@pytest.mark.usefixtures("plug_in")
def test_what_another_package_makes_wrongly_is_said_of_its_tier(kind: str, said: str) -> None:
    assert build({"type": "good"}).name == "good"
    with pytest.raises(ConfigError) as caught:
        build({"type": kind, "name": kind if kind != "other" else "mine"})
    assert str(caught.value).startswith(said.replace("tier other", "tier mine"))


def test_tiers_are_closed_with_the_node_and_where_a_later_one_cannot_be_made(plug_in: Any) -> None:
    async def scenario(*tiers: dict[str, str]) -> None:
        async with open_node(NodeConfig(libp2p=False, tiers=tiers)):
            assert not plug_in.closed

    trio.run(scenario, {"type": "good", "name": "a"}, {"type": "good", "name": "b"})
    assert plug_in.closed == ["a", "b"]
    plug_in.closed.clear()
    with pytest.raises(ConfigError, match="tier full"):
        trio.run(scenario, {"type": "good", "name": "a"}, {"type": "full"})
    assert plug_in.closed == ["a"]


@pytest.mark.parametrize("table", [{}, {"name": "x"}, {"type": 5}, {"type": "kubo", "name": ""}, 5, None])
def test_no_tables(table: Any) -> None:
    with pytest.raises(ConfigError):
        build_tiers([table], context())


def test_names_are_unique() -> None:
    with pytest.raises(ConfigError, match="two tiers are called 'kubo'"):
        build_tiers([{"type": "kubo", "endpoint": URL}, {"type": "gateway", "name": "kubo", "urls": [URL]}], context())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("agent", "Mg", "the key agent must be an Ed25519 secret key"),
        ("agent", "", "the key agent must be an Ed25519 secret key"),
        (
            "agent",
            "M" + base64.b64encode(b"\x80\x26" + bytes(32) + b"\xed\x01" + bytes(32)).decode(),
            "not that of its",
        ),
        ("proofs", ["x"], "the key proofs has one that cannot be read"),
    ],
)
def test_keys_and_proofs_that_are_none(key: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build({**storacha_table(), key: value})


# --- secrets ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "table",
    [
        {"type": "kubo", "endpoint": "${S}"},
        {"type": "kubo", "endpoint": "http://${S}@127.0.0.1"},
        {"type": "kubo", "endpoint": URL, "token": "${S} with a blank"},
        {"type": "pinning", "endpoint": URL, "token": "${S}\n"},
        {"type": "filecoin", "pdp": {"endpoint": URL, "key": "${S}", "contract": KEEPER, "chain": 1}},
        {"type": "gateway", "urls": ["${S}"]},
        {**storacha_table(), "agent": "${S}"},
        {**storacha_table(), "service": "${S}"},
        {**storacha_table(), "proofs": ["${S}"]},
        {"type": "kubo", "endpoint": URL, "tokn": "${S}"},
    ],
)
def test_errors_never_tell_a_secret(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        build(table, S=SECRET)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_printed_never_tells_a_secret() -> None:
    texts = [
        {"type": "kubo", "endpoint": URL, "token": "${S}"},
        {"type": "kubo", "endpoint": URL, "user": "u", "password": "${S}"},
        {"type": "gateway", "urls": [URL], "tokens": {URL: "${S}"}},
        {"type": "ipfs_cluster", "endpoint": URL, "user": "u", "password": "${S}", "jwt": True, "proxy": URL},
        {"type": "pinning", "endpoint": URL, "token": "${S}"},
        {"type": "filecoin", "chain": {"endpoint": URL, "token": "${S}"}},
    ]
    for table in texts:
        assert SECRET not in repr(build(table, S=SECRET))
    assert SECRET not in repr(context(S=SECRET)) + repr(TierSpec({"type": "x", "a": SECRET}, {"S": SECRET}))
