"""The search for secrets in an image finds keys as tools write them, and nothing else."""

import json
import subprocess

import pytest
from image_search import find_secrets

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: E402

PEM, TRADITIONAL, PKCS8, OPENSSH = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.PrivateFormat.PKCS8,
    serialization.PrivateFormat.OpenSSH,
)
PLAIN, ENCRYPTED = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"password")
RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
WRITTEN = {
    "rsa": RSA.private_bytes(PEM, TRADITIONAL, PLAIN),
    "rsa-pkcs8": RSA.private_bytes(PEM, PKCS8, PLAIN),
    "rsa-encrypted": RSA.private_bytes(PEM, TRADITIONAL, ENCRYPTED),
    "rsa-encrypted-pkcs8": RSA.private_bytes(PEM, PKCS8, ENCRYPTED),
    "ec": EC.private_bytes(PEM, TRADITIONAL, PLAIN),
    "ed25519": ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN),
    "openssh": EC.private_bytes(PEM, OPENSSH, PLAIN),
}
PLANTED = {
    **WRITTEN,
    "windows": WRITTEN["rsa"].replace(b"\n", b"\r\n"),
    "account.json": json.dumps({"private_key": WRITTEN["rsa-pkcs8"].decode()}).encode(),
    "binary.so": b"\x7fELF\0\xff" + WRITTEN["ec"] + b"\0\xfe",
    "settings.py": b"KEY = '''" + WRITTEN["ec"] + b"'''",
    ".netrc": b"machine host login me password word",
}
HARMLESS = {
    "reader.so": b"\0-----BEGIN RSA PRIVATE KEY-----\0-----END RSA PRIVATE KEY-----\0" + b"A" * 90 + b"\0",
    "reader.py": b'FIRST = b"-----BEGIN PRIVATE KEY-----"\nLAST = b"-----END PRIVATE KEY-----"\n',
    "manual.txt": b"-----BEGIN PRIVATE KEY-----\n<the key>\n-----END PRIVATE KEY-----\n",
    "public": RSA.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    ".npmrc": b"",
}


def test_only_files_with_a_key_or_credentials_are_found(tmp_path):
    for name, content in (PLANTED | HARMLESS).items():
        (tmp_path / name).write_bytes(content)
    command = ["sh", "-c", find_secrets(str(tmp_path))]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert sorted(found.stdout.split()) == sorted(str(tmp_path / name) for name in PLANTED)
    assert found.stderr == ""
