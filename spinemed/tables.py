"""Records to files and back: Parquet, JSONL, atomic writes, folder manifests.

Convention: a file appears whole or not at all (temporary name, flush, fsync, rename); a folder is complete when its
`manifest.json` is there, because that is written last. Parquet is written with fixed settings, so equal records give
equal bytes on the same pyarrow version.

Trap: a Parquet file whose schema is right can still hold rows that break the contract; :func:`read_records` validates
each row and names file, row and field.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import types
import typing
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from spinemed.errors import ReadError, RecordError

if typing.TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "MANIFEST",
    "arrow_schema",
    "atomic_folder",
    "atomic_write",
    "file_sha256",
    "parquet_damage",
    "parse_json",
    "plain",
    "read_jsonl",
    "read_manifest",
    "read_records",
    "replace_folder",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_manifest",
    "write_records",
    "write_text",
]

MANIFEST = "manifest.json"
R = TypeVar("R", bound=BaseModel)


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, private: bool = False) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its name only when the block ends without an error.

    The parent folder is created. On an error the temporary file is removed and what stood at `path` stays. A `private`
    file is closed to other users from its first byte (mode 0600); any other one follows the umask.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if not private:  # mkstemp makes a private one
            umask = os.umask(0)
            os.umask(umask)
            Path(name).chmod(0o666 & ~umask)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_write(path) as stream:
        stream.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON with sorted keys and a final newline, atomically. NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        ReadError: The file is missing or cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ReadError(
            f"cannot be read ({error.strerror})", file=path, cure="check the path and its permissions"
        ) from error


def parse_json(text: str | bytes | bytearray, **how: Any) -> Any:
    """`json.loads` for a file that anybody may have written.

    Args:
        text: JSON, as text or UTF-8.
        how: Arguments of `json.loads`.

    Raises:
        ValueError: It is no JSON, or nests more deeply than Python can follow.
    """
    try:
        return json.loads(text, **how)
    except RecursionError:
        raise ValueError("nested too deeply") from None


# --- Parquet ---------------------------------------------------------------------------------------------------------


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """Arrow schema of a flat or nested record. Enums and literals become strings, tuples become lists."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(name, _arrow_type(field.annotation), nullable=_optional(field.annotation))
            for name, field in model.model_fields.items()
        ],
        metadata={"record": model.__name__},
    )


def _optional(annotation: Any) -> bool:
    return type(None) in typing.get_args(annotation)


def _arrow_type(annotation: Any) -> pa.DataType:
    import pyarrow as pa

    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _arrow_type(arguments[0])
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            raise TypeError(f"no Arrow type for the union {annotation}")
        return _arrow_type(inner[0])
    if origin is typing.Literal:
        return pa.string()
    if origin in (tuple, list):
        return pa.list_(pa.field("element", _arrow_type(arguments[0]), nullable=_optional(arguments[0])))
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            return pa.struct(list(arrow_schema(annotation)))
        if issubclass(annotation, Enum):
            return pa.string()
        for python, arrow in ((bool, pa.bool_()), (int, pa.int64()), (float, pa.float64()), (bytes, pa.binary())):
            if annotation is python:
                return arrow
    return pa.string()  # str and the types that serialise to text, such as Disc


def plain(value: Any) -> Any:
    """A record as plain Python for Arrow: bytes stay bytes, enums and typed texts become strings."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    return str(value)


def _told(record: BaseModel) -> dict[str, Any]:
    return record.model_dump(mode="json")


def _textual(kind: Any) -> bool:
    """Whether a schema or type holds neither bytes nor real numbers, which JSON would change."""
    import pyarrow as pa

    if isinstance(kind, pa.Schema):
        return all(_textual(field.type) for field in kind)
    if pa.types.is_struct(kind):
        return all(_textual(kind.field(place).type) for place in range(kind.num_fields))
    if pa.types.is_list(kind):
        return _textual(kind.value_type)
    return not (pa.types.is_binary(kind) or pa.types.is_floating(kind))


def write_records(path: str | os.PathLike[str], model: type[R], records: Iterable[R], *, batch: int = 1024) -> int:
    """Stream records into one Parquet file, atomically.

    Returns:
        The number of rows written. An empty iterable gives a valid file of no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, rows = arrow_schema(model), 0
    # Where a record holds texts and counts alone, its own serialiser says the same several times as fast.
    told = _told if _textual(schema) else plain
    with atomic_write(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        buffer: list[dict[str, Any]] = []
        for record in records:
            buffer.append(told(record))
            if len(buffer) == batch:
                writer.write_table(pa.Table.from_pylist(buffer, schema=schema))
                rows, buffer = rows + len(buffer), []
        if buffer:
            writer.write_table(pa.Table.from_pylist(buffer, schema=schema))
            rows += len(buffer)
    return rows


def read_records(
    path: str | os.PathLike[str], model: type[R], *, columns: list[str] | None = None, batch: int = 256
) -> Iterator[R]:
    """Stream validated records from one Parquet file.

    Args:
        path: The file.
        model: The contract. With `columns`, a model that holds just these fields.
        columns: Read only these columns.
        batch: Rows held in memory at a time.

    Raises:
        ReadError: The file is missing, truncated or no Parquet file.
        RecordError: A column is absent or unknown, or a row breaks the contract; file, row and field are named.
    """
    import pyarrow.parquet as pq

    try:
        stream = pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise ReadError("no such file", file=path, cure="run the stage that writes it first") from error
    except parquet_damage() as error:
        raise _damaged(path, error) from error
    with stream:
        wanted, found = set(columns or model.model_fields), set(stream.schema_arrow.names)
        if wanted - found or (columns is None and found - wanted):
            raise RecordError(
                f"columns do not match {model.__name__}: missing {sorted(wanted - found)}, "
                f"unknown {sorted(found - wanted) if columns is None else []}",
                file=path,
                cure="write the file again with this version of SpineMed",
            )
        row = 0
        try:
            for part in stream.iter_batches(batch_size=batch, columns=columns):
                for values in part.to_pylist():
                    row += 1
                    yield _validate(model, values, path, row)
        except parquet_damage() as error:
            raise _damaged(path, error) from error


def parquet_damage() -> tuple[type[Exception], ...]:
    """What pyarrow raises on damaged Parquet: its own, texts that are no UTF-8, sizes that no memory holds."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeDecodeError)


def _damaged(path: str | os.PathLike[str], error: Exception) -> ReadError:
    first = (str(error) or type(error).__name__).splitlines()[0][:160]
    return ReadError(
        f"is not a complete Parquet file ({first})", file=path, cure="delete it and run the stage that writes it again"
    )


def _validate(model: type[R], values: Any, path: str | os.PathLike[str], line: int) -> R:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise RecordError(
            # A fault of several fields together says what it found; the record as a whole would only bury it.
            f"{message} (got {_shorten(first.get('input'))})" if field else message,
            file=path,
            line=line,
            field=field or model.__name__,
            cure=f"mend this row to match the {model.__name__} contract, or write the file again",
        ) from error


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# --- JSONL -----------------------------------------------------------------------------------------------------------


def write_jsonl(path: str | os.PathLike[str], records: Iterable[BaseModel]) -> int:
    """Write one record a line, atomically. Returns the number of lines."""
    rows = 0
    with atomic_write(path) as stream:
        for record in records:
            stream.write(record.model_dump_json().encode() + b"\n")
            rows += 1
    return rows


def read_jsonl(path: str | os.PathLike[str], model: type[R], *, torn_tail: bool = False) -> Iterator[R]:
    """Stream validated records, one a line.

    Args:
        path: The file.
        model: The contract.
        torn_tail: The file is an append-only journal: a last line without its newline was cut by a kill and is
            left out; anywhere else it is an error.

    Raises:
        ReadError: The file is missing or a line is no JSON.
        RecordError: A line breaks the contract; file, line and field are named.
    """
    if not Path(path).is_file():
        raise ReadError("no such file", file=path, cure="run the stage that writes it first")
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            if torn_tail and not line.endswith(b"\n"):
                return
            if not line.strip():
                continue
            try:
                values = parse_json(line)
            except ValueError as error:
                raise ReadError(
                    f"is not JSON ({error})", file=path, line=number, cure="mend or remove this line"
                ) from error
            yield _validate(model, values, path, number)


# --- folders ---------------------------------------------------------------------------------------------------------


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty hidden folder that becomes `target` when the block ends without an error; parents are made.

    On an error it is removed, and what stood at `target` stays. What a killed process left behind is removed by the
    next one, so two processes must not make the same folder at once.
    """
    final = Path(os.path.abspath(target))  # "." has no name to put a hidden folder beside
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    replace_folder(partial, final)


def replace_folder(made: Path, target: Path) -> None:
    """Give a finished folder its name; what stood there is moved out of the way first and removed last.

    Removing it first would take time file by file, and a kill in between would leave a folder with a manifest and
    without its files, which nothing can resume from. So a kill leaves the old folder, the new one, or none.
    """
    aside = target.with_name(f".{target.name}.old")
    shutil.rmtree(aside, ignore_errors=True)  # left by a kill
    if target.exists():
        target.rename(aside)
    made.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def write_manifest(folder: str | os.PathLike[str], kind: str, **facts: Any) -> dict[str, Any]:
    """Write `manifest.json` last: every other file of the folder with its hash and size, and the given facts.

    Hidden files are left out. Returns the manifest; its `sha256` is the hash of all files together.
    """
    root = Path(folder)
    files = {
        path.relative_to(root).as_posix(): {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        for path in sorted(root.rglob("*"))
        if path.is_file() and path != root / MANIFEST and not path.name.startswith(".")
    }
    together = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    manifest = {"kind": kind, "files": files, "sha256": together, **facts}
    write_json(root / MANIFEST, manifest)
    return manifest


def read_manifest(folder: str | os.PathLike[str], kind: str, *, verify: bool = False) -> dict[str, Any]:
    """Read a folder's manifest and check that the folder is complete.

    Args:
        folder: What an earlier stage wrote.
        kind: What it must be, e.g. `corpus`, `release`.
        verify: Hash every file again.

    Raises:
        ReadError: No manifest, another kind, or a file that is missing or changed.
    """
    root = Path(folder)
    path = root / MANIFEST
    try:
        manifest = parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError(
            f"holds no {MANIFEST}, so it is no finished {kind}", file=root, cure=f"run the stage that writes the {kind}"
        ) from error
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure="check its permissions") from error
    except ValueError as error:
        raise ReadError(f"is not JSON ({error})", file=path, cure="run the stage that writes it again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ReadError("is no manifest: it lists no files", file=path, cure=f"give the folder of a finished {kind}")
    if manifest.get("kind") != kind:
        raise ReadError(f"is a {manifest.get('kind')!r}, expected a {kind!r}", file=path, cure="give another folder")
    for name, facts in manifest["files"].items():
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts and len(os.fsencode(name)) < 1024
        if not inside or not isinstance(facts, dict) or not {"sha256", "bytes"} <= facts.keys():
            raise ReadError(
                "says no hash and size of a file of this folder", file=path, field=f"files.{name}",
                cure=f"write the {kind} again",
            )  # fmt: skip
        file = root / name
        if not os.path.isfile(file):  # false, too, for what is no name of a file
            raise ReadError("is listed in the manifest but missing", file=file, cure=f"write the {kind} again")
        if file.stat().st_size != facts["bytes"] or (verify and file_sha256(file) != facts["sha256"]):
            raise ReadError("differs from its manifest", file=file, cure=f"write the {kind} again")
    return dict(manifest)
