"""A schema that names something outside of it: no server is asked and no file is opened."""

import json
import socket

import pytest

from capsules.errors import Invalid
from capsules.json_schema import schema_problems, value_problems


@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef", "$schema"])
def test_nothing_is_fetched(keyword):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        schema = {keyword: f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"}
        schema_problems(schema)
        if keyword != "$schema":  # the draft is fixed, so that one is only a word
            with pytest.raises(Invalid, match="cannot be used"):
                value_problems(schema, 1)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_no_file_is_opened(tmp_path):
    (tmp_path / "secret.json").write_text(json.dumps({"const": "the content of a file"}))
    schema = {"$ref": f"file://{tmp_path}/secret.json"}
    assert "nothing is fetched" in schema_problems(schema)[0].message
    with pytest.raises(Invalid, match="cannot be used"):
        value_problems(schema, "a guess")
