"""Opens a backup as docs/backup-format.md describes it, without Langlauf: file, passphrase -> contents on stdout."""

import base64
import hashlib
import json
import subprocess
import sys
import tempfile

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

path, passphrase = sys.argv[1:]
backup = json.load(open(path, encoding="utf-8"))
encryption = backup["encryption"]
decode = base64.b64decode

lines = ["ti-konnektor-backup/1", backup["made"], backup["product"]]
lines += [str(encryption[key]) for key in ("kdf", "iterations", "salt", "cipher", "nonce")]
signed = "\n".join([*lines, backup["ciphertext"]]).encode()
with tempfile.TemporaryDirectory() as folder:

    def write(name, data):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)
        return f"{folder}/{name}"

    certificate = write("c.der", decode(backup["signature"]["certificate"]))
    key = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True
    ).stdout
    subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", write("key.pem", key)]
        + ["-signature", write("value", decode(backup["signature"]["value"])), write("signed", signed)],
        check=True,
        stdout=subprocess.DEVNULL,
    )

salt, nonce = decode(encryption["salt"]), decode(encryption["nonce"])
key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, encryption["iterations"])
plain = AESGCM(key).decrypt(nonce, decode(backup["ciphertext"]), backup["made"].encode())
print(json.dumps(json.loads(plain)))
