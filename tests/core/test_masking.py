"""No password shows, in whatever form it comes, and the host stays readable."""

from __future__ import annotations

import pytest
from omniq import Config, ConfigError
from omniq.backends.postgres import PostgresDriver
from omniq.backends.registry import make_driver
from omniq.errors import GarbledURLError, StoreUnavailableError
from omniq.masking import is_garbled, mask_text, mask_url

MASKED = {
    # logins
    "redis://u:hunter2@h:6379/0": "redis://u:***@h:6379/0",
    "redis://:hunter2@[::1]:6379/0": "redis://:***@[::1]:6379/0",
    "rediss+cluster://u:hunter2@a:1,b:2?namespace=x": "rediss+cluster://u:***@a:1,b:2?namespace=x",
    "postgresql://u:p@hunter2@h/db?application_name=me@x": "postgresql://u:***@h/db?application_name=me@x",
    "nats://hunter2@h": "nats://***@h",
    "tls://hunter2@one:4222,two:4222?namespace=x": "tls://***@one:4222,two:4222?namespace=x",
    "odd://u:hunter2@h": "odd://u:***@h",
    # queries
    "postgresql://h/db?user=u&password=hunter2": "postgresql://h/db?user=u&password=***",
    "postgresql://h/db?p%61ssword=hunter2&sslkey=/x/y&passfile=/z": (
        "postgresql://h/db?p%61ssword=***&sslkey=/x/y&passfile=/z"
    ),
    "redis://h?password=hunter2": "redis://h?password=***",
    "redis://h?password=p#hunter2": "redis://h?password=***",
    "az://c/p?sig=hunter2&create=true": "az://c/p?sig=***&create=true",
    "s3://b/p?secret=hun&hunter2;hunter2&key=hunter2&create=true": "s3://b/p?secret=***&key=***&create=true",
    "s3://b?X-Amz-Signature=hunter2&AWSAccessKeyId=hunter2&sas_token=hunter2&PWD=hunter2": (
        "s3://b?X-Amz-Signature=***&AWSAccessKeyId=***&sas_token=***&PWD=***"
    ),
    # what should have been percent-encoded
    "postgresql://u:p/hunter2@h/db": "postgresql://***@h/db",
    "postgresql://u:p@ss/w#hunter2@h/db?x=y": "postgresql://***@h/db?x=y",
    "redis://u:p#hunter2@h/0": "redis://***@h/0",
    "redis://u:p?hunter2@h/0": "redis://***@h/0",
    "redis://u:p?a=hunter2@h/0": "redis://***@h/0",
    "redis://u:12/hunter2@h/0": "redis://***@h/0",
    "redis://u:p[hunter2@h/0": "redis://***@h/0",
    "nats://tok/hunter2@h": "nats://***@h",
    "s3://KEY:SEC/hunter2@bucket/prefix": "s3://***@bucket/prefix",
    # no URLs
    "u:hunter2@h/db": "u:***@h/db",
    "host=h user=u password=hunter2 port=3": "host=h user=u password=*** port=3",
    "AccountName=x;AccountKey=hunter2==;EndpointSuffix=core": "AccountName=x;AccountKey=***;EndpointSuffix=core",
}
AS_IT_IS = [
    "sqlite:////home/me@work/x.db",
    "s3://bucket/pre@fix?namespace=n",
    "abfs://container@account.dfs.core.windows.net/prefix",
    "postgresql://u@h:5432/db?sslmode=require&pool_size=3",
    "redis://[::1]:6379/0",
    "postgresql:///db?host=/run/postgresql",
    "shelf://a/b@c",
    "memory://monkeys",
]


@pytest.mark.parametrize(("url", "masked"), MASKED.items())
def test_passwords_are_masked_wherever_they_stand(url: str, masked: str) -> None:
    assert "hunter2" in url
    assert mask_url(url) == masked
    assert mask_url(masked) == masked
    assert "hunter2" not in repr(Config(url=url, large_values=url))


@pytest.mark.parametrize("url", AS_IT_IS)
def test_what_is_no_secret_stays(url: str) -> None:
    assert mask_url(url) == url
    assert not is_garbled(url)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://u:hun%20ter2@h", "wrong: 'hun ter2' or hun%20ter2"),
        ("nats://hunter2@h", "wrong: hunter2"),
        ("postgresql://h?password=hun+ter2", "wrong: hun ter2"),
    ],
)
def test_what_a_client_says_is_masked_too(url: str, text: str) -> None:
    assert "ter2" not in mask_text(text, url)
    assert mask_text(text, url).startswith("wrong: ")
    assert mask_text("no host h", url) == "no host h"


GARBLED = [
    "postgresql://u:p/hunter2@h/db",
    "redis://u:p#hunter2@h/0",
    "nats://u:p?hunter2@h",
    "redis://u:p[hunter2@h/0",
    "postgresql://u:hun ter2@h/0",
]


@pytest.mark.parametrize("url", GARBLED)
def test_url_with_a_password_that_is_not_encoded_is_refused_with_what_to_do(url: str) -> None:
    complaint = r"the URL \w+://\*\*\*@h\S* can't be read.*percent-encoded"
    for use in (make_driver, lambda url: Config.load(results=url), lambda url: Config.load({"url": url})):
        with pytest.raises(GarbledURLError, match=complaint) as caught:
            use(url)
        assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"), [("postgresql://u:hunter2@h:port/db", "port"), ("redis://u:hunter2@h:port", "port")]
)
async def test_clients_error_about_a_url_shows_no_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with make_driver(url):
            pass
    assert said in str(caught.value.__cause__)
    assert "hunter2" not in str(caught.value)


async def test_an_at_sign_in_a_password_needs_no_encoding_for_postgresql() -> None:
    with pytest.raises(StoreUnavailableError, match=r"u:\*\*\*@127.0.0.1:1/db can't be reached.*Connect call failed"):
        await PostgresDriver("postgresql://u:p@ss@127.0.0.1:1/db").open()


@pytest.mark.parametrize("url", [b"redis://:hunter2@h", ["redis://:hunter2@h"]])
def test_url_of_another_type_does_not_show(url: object) -> None:
    with pytest.raises(ConfigError, match="url must be text, not a (bytes|list)"):
        Config.load({"url": url})


# --- variables in URLs ---


@pytest.mark.parametrize("password", ["p@ss/hunter2", "hunter2#", "?hunter2", "hun ter2"])
def test_variable_that_would_break_its_url_is_refused(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", password)
    complaint = r"^results has the environment variable DB_PASSWORD.*percent-encoded"
    with pytest.raises(ConfigError, match=complaint) as caught:
        Config.load({"results": "postgresql://u:${DB_PASSWORD}@h/db"})
    assert "ter2" not in str(caught.value)


def test_variable_is_taken_as_it_is_where_it_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V", "a/b#c")
    assert Config.load({"url": "${V:-x}://h"}).url == "a/b#c://h"
    assert Config.load({"url": "redis://h/${V}", "secret": "${V}"}) == Config(url="redis://h/a/b#c", secret="a/b#c")
    monkeypatch.setenv("V", "p%40ss%2Fw")
    assert Config.load({"url": "redis://:${V}@h"}).url == "redis://:p%40ss%2Fw@h"
