"""URLs: unknown schemes, secrets in them, and servers that answer anything."""

from hostile.case import Case
from hostile.configs import CLICKS, DATA, NAME

SECRET = "hunter2"
CLOSED = "http://127.0.0.1:9/clicks.csv"  # the port of `discard`, which nothing listens to


def url(name: str, at: str, error: str, environment: tuple[str, ...] = ()) -> Case:
    """A run with a file at a URL; what is secret is shown nowhere."""
    config = NAME + DATA.replace("clicks.csv", f"'{at}'")
    return Case(name, {"run.yaml": config}, error=error, hidden=SECRET, environment=environment)


def store(name: str, at: str, error: str) -> Case:
    """A store at a URL."""
    config = NAME + DATA
    return Case(
        name,
        {"run.yaml": config, "clicks.csv": CLICKS},
        f"ingest run.yaml --store {at}",
        error,
        hidden=SECRET,
    )


CASES = [
    url("nothing listens", CLOSED, r"127\.0\.0\.1:9"),
    url("a password", f"http://user:{SECRET}@127.0.0.1:9/clicks.csv", r"127\.0\.0\.1:9"),
    url("a signature", f"{CLOSED}?X-Amz-Signature={SECRET}", r"127\.0\.0\.1:9"),
    url("a token", f"{CLOSED}?token={SECRET}&x=1", r"127\.0\.0\.1:9"),
    url("a signature of Azure", f"{CLOSED}?sv=1&sig={SECRET}", r"127\.0\.0\.1:9"),
    url("an unknown scheme", "gopher://127.0.0.1/clicks.csv", r"gopher"),
    url("an unknown scheme with a password", f"ftp2://user:{SECRET}@127.0.0.1/clicks.csv", r"ftp2"),
    url("no host", "http:///clicks.csv", r"http:///clicks\.csv|http"),
    url("no bucket", "gs://", r"gs://"),
    url("a bucket without a name", "s3:///x.csv", r"s3://"),
    url("a port that is none", "http://127.0.0.1:99999/x.csv", r"99999"),
    url("a port that is text", "http://127.0.0.1:http/x.csv", r"127\.0\.0\.1"),
    url("spaces in a host", "http://127.0.0. 1/x.csv", r"http"),
    url("an open bracket", "http://[::1/x.csv", r"\[::1"),
    url("file:// to nowhere", "file:///gone/clicks.csv", r"gone/clicks\.csv"),
    url("file:// with a host", "file://server/clicks.csv", r"clicks\.csv"),
    url("data:", "data:text/csv,click", r"data:text"),
    store("a store over HTTP", f"http://user:{SECRET}@127.0.0.1:9/x", r"do not belong in this URL"),
    store("a store without a bucket", "gs://", r"bucket"),
    store("a store of an unknown scheme", "hdfs2://x/y", r"hdfs2|gs://"),
]
