"""Bytes of a file as text: what packs them, how they are encoded, and what is no file of prompts at all."""

import bz2
import gzip
import lzma
import re
import zlib

from rhat.errors import PromptError

MAGIC = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}
BOMS = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
PUNCTUATION = "‘’“”–—…·´\u00a0\u00ad•«»‹›"  # of Windows-1252, that stands between two letters in proper text
LONGEST_RUN = 3  # letters with accents in a row, in languages that Windows-1252 is for

FOREIGN = (  # how a file begins that holds no prompts, and what to say of it
    (rb"version https://git-lfs\.github\.com/spec", "a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
    (rb"(?i)(<\?xml[^>]*>\s*)?<(!doctype html|html)\b", "a web page (HTML), not prompts; download the raw file"),
    (rb"(?i)<\?xml\b", "XML; save it as CSV or JSONL"),
    (rb"%PDF-", "a PDF; save its prompts as text, one a line"),
    (rb"PK\x03\x04.{0,4000}?xl/", "an Excel workbook; save it as CSV (UTF-8)"),
    (rb"PK\x03\x04", "a zip archive; unpack it"),
    (rb"\xd0\xcf\x11\xe0", "an Office document of the old kind; save it as CSV (UTF-8)"),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd, which is not read; unpack it"),
    (rb"SQLite format 3\x00", "an SQLite database; export the table as CSV"),
    (rb"ARROW1|\xff\xff\xff\xff", "an Arrow file; write it as Parquet"),
    (rb"\x93NUMPY", "a NumPy array; write its texts as JSONL"),
    (rb"\x80[\x02-\x05]", "a Python pickle, which is never opened; write it as JSONL"),
    (rb"(?i)(entry not found|404: not found|invalid username or password|repository not found)\s*$", "an error page of the hub, not prompts; check the address and download it again"),
)  # fmt: skip


def unpacked(data: bytes, name: str) -> bytes:
    """The bytes without gzip, bzip2 or xz around them, which are known by how they begin.

    Raises:
        PromptError: if they are cut off or damaged.
    """
    for magic, decompress in MAGIC.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                raise PromptError(f"{name}: packed, and cut off or damaged ({error}); fetch it again") from error
    return data


def reject_foreign(data: bytes, name: str) -> None:
    """Raise for what plainly is another kind of file.

    Raises:
        PromptError: saying what it is and what to do.
    """
    head = data[:5000].removeprefix(b"\xef\xbb\xbf").lstrip()
    for pattern, said in FOREIGN:
        if re.match(pattern, head, re.DOTALL):
            raise PromptError(f"{name}: this is {said}")


def decode(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """(text, what to say of it): UTF-8, UTF-16 or 32, or plainly Windows-1252; lines end as they do or with "\\n".

    Raises:
        PromptError: for anything else, with the line.
    """
    text, said = _text(data, name)
    return (text if "\n" in text else text.replace("\r", "\n")), said  # as Macs wrote once, and Excel there still may


def _text(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    for bom, encoding in BOMS.items():
        if data.startswith(bom):
            return _decoded(data, encoding, name), (f"is {encoding.upper()}",)
    pairs = data[:2000]
    if len(pairs) >= 4 and b"\x00" in pairs:
        for encoding, zeros in (("utf-16-le", pairs[1::2]), ("utf-16-be", pairs[::2])):
            if zeros.count(0) > 0.4 * len(zeros):
                return _decoded(data, encoding, name), (f"is {encoding.upper()} without a mark",)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        western = _windows(data)
        if western is None:
            line = data[: error.start].count(b"\n") + 1
            raise PromptError(
                f"{name}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}), and not clearly Windows-1252; "
                "save the file as UTF-8"
            ) from error
        return western, ("is not UTF-8 and was read as Windows-1252 (save it as UTF-8 if accents look wrong)",)
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise PromptError(f"{name}:{line}: a zero byte, which no text holds; save the file as UTF-8")
    return text, ()


def _decoded(data: bytes, encoding: str, name: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise PromptError(
            f"{name}: begins as {encoding.upper()}, and is damaged at byte {error.start}; save the file as UTF-8"
        ) from error


def _windows(data: bytes) -> str | None:
    """The text in Windows-1252, or None if it may be something else: UTF-8 in part, another script or code page."""
    if re.search(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}", data):
        return None
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = re.findall(r"[^\W\d_]+", text)
    if any(re.search(rf"[^\x00-\x7f]{{{LONGEST_RUN + 1},}}", word) for word in letters):
        return None
    symbols = re.findall(r"(?<=[^\W\d_])([^\x00-\x7f])(?=[^\W\d_])", text)
    if any(not (symbol.isalpha() or symbol in PUNCTUATION) for symbol in symbols):
        return None
    return text
