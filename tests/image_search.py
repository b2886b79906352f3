"""Shell commands that find files of an image; where there is no image, of a folder."""

# Files that are credentials by their names.
NAMES = ("pip.conf", ".netrc", ".npmrc", ".pypirc", "id_rsa*", "*.key", "credentials*.json")
# A header, which programs that read keys contain too, and a line of the key. In JSON, \n ends lines.
KEY = (
    r"-----BEGIN ([A-Z]+ )*PRIVATE KEY( BLOCK)?-----"
    r"(\\[nr]|[[:space:]])+([A-Za-z-]+: [[:print:]]+[[:space:]]+)*[A-Za-z0-9+/=]{60}"
)


def find(matching: str, folder: str = "/") -> str:
    """The command that prints the files which match, except those of Debian's documentation."""
    return rf"find {folder} -xdev \( -path /proc -o -path /sys -o -path /usr/share \) -prune -o {matching}"


def find_secrets(folder: str = "/") -> str:
    """The command that prints the files that are, or contain, credentials; any bytes may surround them."""
    names = " -o ".join(f"-name '{name}'" for name in NAMES)
    named = rf"-type f \( {names} \) -size +0 -print"
    # GnuTLS contains the keys of its self-tests.
    others = "-type f ! -name 'libgnutls.so*'"
    inside = f"{others} -exec grep --files-with-matches --text --null-data -E -e '{KEY}' {{}} +"
    return f"export LC_ALL=C; {find(named, folder)}; {find(inside, folder)}"
