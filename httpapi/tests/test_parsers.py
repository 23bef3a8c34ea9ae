import gzip
import json
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from django.test import Client

from httpapi.parsers import MAX_DEPTH, parse_json
from httpapi.problems import Problem


@pytest.mark.parametrize(
    "value", [{}, [], "a", 7, -7, 0, None, True, {"a": [{"b": None}]}, "é€😀", {"": ""}, 10**4000, "\n\t"]
)
def test_json_is_read(value):
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["0.1", "39.95", "0.30000000000000004", "1e2", "-0.0", "1.00", "12345678901234567.89"])
def test_a_fraction_arrives_exactly_as_written_and_never_as_a_float(text):
    value = parse_json(text.encode())
    assert type(value) is Decimal
    assert value.as_tuple() == Decimal(text).as_tuple()


def test_a_pair_of_surrogates_is_a_character():
    assert parse_json(rb'"\ud83d\ude00"') == "😀"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b"{'a': 1}", "line 1, column 2"),
        (b"[1,]", "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b"1 2", "Extra data"),
        (b'"a\nb"', "control character"),
        (b'"\\x"', "escape"),
        (b" ", "not JSON"),
        (b"\x00", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b"[Infinity]", "Infinity"),
        (b"-Infinity", "-Infinity"),
        (b'{"a": 1, "a": 2}', '"a" twice'),
        (rb'{"a": 1, "\u0061": 2}', '"a" twice'),
        (b'{"x": {"a": 1, "b": 2, "a": 1}}', '"a" twice'),
        (b"1e400", "out of range"),
        (b"-1e400", "out of range"),
        (b"1e-400", "out of range"),
        (b"1e3000000", "out of range"),
        (b"1e99999999999999999999999999", "out of range"),
        (b"0." + b"0" * 500 + b"1", "out of range"),
        (b"9" * 5000, "too many digits"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
        (b"[" * 500 + b"]" * 500, "nested deeper"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested deeper"),
        (b"\xff", "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"\xc0\x80"', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        ('{"a": 1}'.encode("utf-16-be"), "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
    ],
)
def test_what_does_not_parse_is_a_400_that_says_why(post, problem, body, says):
    detail = problem(post("/echo", body), 400)["detail"]
    assert says in detail
    assert len(detail) < 300


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (rb'{"owner": "\ud800"}', "/owner"),
        (rb'{"owner": "\udc00\ud800"}', "/owner"),
        (rb'{"unknown": [1, {"a/b~c": "\ud800"}]}', "/unknown/1/a~1b~0c"),
        (rb'{"\ud800": 1}', ""),
        (rb'["\ud83d"]', "/0"),
    ],
)
def test_half_a_surrogate_pair_is_a_422_that_says_where(post, problem, body, pointer):
    (error,) = problem(post("/echo", body), 422)["errors"]
    assert error["pointer"] == pointer


def test_nul_is_refused_in_what_a_field_takes_and_nowhere_else(post, problem):
    part = rb'"parts": [{"name": "wheel", "count": 1, "price": 1}]'
    (error,) = problem(post("/things", rb'{"owner": "a\u0000b", ' + part + b"}"), 422)["errors"]
    assert error["pointer"] == "/owner"
    assert post("/things", rb'{"owner": "ann", "unknown\u0000": ["\u0000"], ' + part + b"}").status_code == 201


def test_nesting_is_allowed_up_to_the_limit():
    body = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert json.dumps(parse_json(body)).encode() == body


def test_many_objects_beside_each_other_are_not_deep():
    assert len(parse_json(b"[" + b",".join([b"{}"] * 1000) + b"]")) == 1000


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-16",
        "application/json; charset=bz2_codec",
        "application/json; charset=latin-1",
        "application/json; charset=nonsense",
        "application/json; charset=undefined",
        'application/json; charset="utf-7"',
        "application/json; CHARSET=idna",
        "application/json; charset*=utf-8''bz2",
        "application/json; a=b; charset=undefined",
        "text/html; charset=zlib",
    ],
)
def test_a_foreign_charset_is_refused_before_anything_is_decoded_with_it(post, problem, content_type):
    detail = problem(post("/echo?a=%ff", b'{"a": 1}', content_type=content_type), 415)["detail"]
    assert "use utf-8" in detail


def test_a_compressed_body_is_refused(post, problem):
    refused = post("/echo", gzip.compress(b'{"a": 1}'), **{"Content-Encoding": "gzip"})
    assert "compressed" in problem(refused, 415)["detail"]
    assert post("/echo", b'{"a": 1}', **{"Content-Encoding": "identity"}).status_code == 200


@pytest.mark.parametrize("parameter", ["a*=nonsense''b", "a*=undefined''b", "a" * 20_000])
def test_a_content_type_that_cannot_be_read_is_refused(post, problem, parameter):
    assert (
        "cannot be read" in problem(post("/echo", b"{}", content_type=f"application/json; {parameter}"), 415)["detail"]
    )


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "utf8", '"utf-8"'])
def test_utf_8_may_be_named(post, charset):
    assert post("/echo", '{"a": "é"}'.encode(), content_type=f"application/json; charset={charset}").status_code == 200


def test_a_body_of_exactly_the_limit_is_read_and_one_byte_more_is_not(post, problem, settings):
    settings.API_MAX_BODY_BYTES = 100
    assert post("/echo", b'"' + b"a" * 98 + b'"').status_code == 200
    assert "100 bytes" in problem(post("/echo", b'"' + b"a" * 99 + b'"'), 413)["detail"]


def send(body: BytesIO, **environ: Any) -> Any:
    """Posts a body that comes as a stream, as a server would hand it over."""
    headers = {"REQUEST_METHOD": "POST", "PATH_INFO": "/echo", "CONTENT_TYPE": "application/json"}
    return Client().request(**{**headers, "wsgi.input": body, **environ})


def chunked(body: BytesIO, terminated: bool = True) -> Any:
    return send(body, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input_terminated": terminated})


class Untouchable(BytesIO):
    def read(self, *args):
        raise AssertionError("the body was read")

    readline = read


def test_a_body_over_the_limit_is_refused_without_reading_it(problem):
    problem(send(Untouchable(), CONTENT_LENGTH=str(10**12)), 413)


def test_files_over_the_limit_of_forms_are_refused_without_reading_them(problem, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    upload = {"PATH_INFO": "/admin/login/", "CONTENT_TYPE": "multipart/form-data; boundary=x", "CONTENT_LENGTH": "1001"}
    told = problem(send(Untouchable(), **upload, HTTP_COOKIE=f"csrftoken={'a' * 32}"), 413)
    assert "1000 bytes" in told["detail"]


def test_djangos_own_limit_is_a_413_too(post, problem, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    problem(post("/echo", b'"aaaaaaaaaaaaaaa"'), 413)


class Endless(BytesIO):
    """A body without an end, which counts how much of it was read."""

    taken = 0

    def read(self, size=-1):
        assert size > 0, "all of it was asked for"
        self.taken += size
        return b" " * size


def test_a_body_that_comes_without_a_length_is_read():
    response = chunked(BytesIO(b'{"a": 0.1}'))
    assert response.status_code == 200
    assert response.json() == {"python": "{'a': Decimal('0.1')}", "bytes": 10}


def test_a_body_without_a_length_is_read_to_the_limit_and_no_further(problem, settings):
    settings.API_MAX_BODY_BYTES = 1000
    endless = Endless()
    problem(chunked(endless), 413)
    assert endless.taken <= 1001


def test_a_server_that_does_not_end_such_bodies_asks_for_a_length(problem):
    problem(chunked(Untouchable(), terminated=False), 411)


class Breaking(BytesIO):
    def read(self, *args):
        raise ConnectionResetError("gone")


def test_a_body_that_breaks_off_is_a_400(problem):
    problem(chunked(Breaking()), 400)
    problem(send(Breaking(), CONTENT_LENGTH="10"), 400)


def test_the_body_stays_readable_for_the_view(post):
    assert post("/echo", b'{"a": 1}').json()["bytes"] == 8


@pytest.mark.parametrize("body", [b"{", b"1e400", b'{"a":1,"a":2}'])
def test_it_says_so_by_an_exception_that_any_caller_can_use(body):
    with pytest.raises(Problem) as caught:
        parse_json(body)
    assert caught.value.status_code == 400
