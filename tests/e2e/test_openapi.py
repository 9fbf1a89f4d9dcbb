"""docs/openapi.yaml says what the server does: paths, methods, who needs a key, and the ranges of the fields."""

import os

import pytest
import yaml
from conftest import ROOT

with open(os.path.join(ROOT, "docs", "openapi.yaml")) as f:
    SPEC = yaml.safe_load(f)

OPERATIONS = [(path, method) for path, row in SPEC["paths"].items() for method in row]
FIELDS = SPEC["components"]["schemas"]["Sampling"]["properties"]


@pytest.fixture(scope="module")
def keyed(server, tmp_path_factory):
    from conftest import Server

    s = Server("fake", ["--api-key", "one"], "fake", str(tmp_path_factory.mktemp("keyed") / "log"))
    yield s.wait_ready()
    s.stop()


@pytest.mark.fake
@pytest.mark.parametrize("path,method", OPERATIONS)
def test_operation(server, keyed, path, method):
    operation = SPEC["paths"][path][method]
    body = {} if "requestBody" in operation else None
    real = path.replace("{id}", "other")
    with server.raw() as c:
        status = c.request(method.upper(), real, body).answer().status
    assert str(status) in operation["responses"], status
    with keyed.raw() as c:
        locked = c.request(method.upper(), real, body).answer().status == 401
    assert locked == (operation.get("security") != [])


@pytest.mark.parametrize("field", [f for f, row in FIELDS.items() if row.get("type") in ("integer", "number")])
def test_range(server, field):
    row = FIELDS[field]
    step = 1 if row["type"] == "integer" else 0.001
    low, high = row.get("minimum", row.get("exclusiveMinimum")), row.get("maximum")
    good, bad = [], []
    if low is not None:
        (good if "minimum" in row else bad).append(low)
        bad.append(low - step)
    if high is not None:
        good.append(high)
        bad.append(high + step)
    for value, status in [(v, 200) for v in good] + [(v, 400) for v in bad]:
        body = {"prompt": "a", "max_tokens": 1, field: value}
        assert server.raw().post("/v1/completions", body).status == status, value


@pytest.mark.parametrize("field", [f for f, row in FIELDS.items() if row.get("type") == "boolean"])
def test_flag(server, field):
    for value, status in ((True, 200), (False, 200), (1, 400)):
        assert server.raw().post("/v1/completions", {"prompt": "a", "max_tokens": 1, field: value}).status == status
