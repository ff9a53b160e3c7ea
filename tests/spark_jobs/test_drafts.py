"""`nightloom init` judges files: their layout, kind, columns, times and signals. No Spark runs here."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from nightloom import settings as settings_module
from nightloom.errors import SettingsError
from nightloom.settings import Settings, Source
from spark_jobs.draft.project import ProjectDraft, draft_project
from spark_jobs.draft.samples import HEAD, LATER, take_sample
from spark_jobs.readers.record import Layout
from tests.spark_jobs import shops

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A function: name and lines of a file -> the file."""

    def write(name: str, *lines: str, encoding: str = "utf8") -> Path:
        (tmp_path / name).write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
        return tmp_path / name

    return write


def draft(*files: Path) -> ProjectDraft:
    folder = files[0].parent / "shop"
    folder.mkdir(exist_ok=True)
    return draft_project(files, folder)


def loaded(drafted: ProjectDraft, folder: Path) -> Settings:
    folder.mkdir(exist_ok=True)
    (folder / "nightloom.toml").write_text(drafted.text(), encoding="utf8")
    return settings_module.load(folder / "nightloom.toml")


def source(drafted: ProjectDraft, folder: Path, place: int = 0) -> Source:
    return loaded(drafted, folder).sources[place]


def keys(drafted: ProjectDraft) -> list[str]:
    """The keys that are asked for."""
    return [question.key for _, question in drafted.questions]


def check_online_retail(files: list[Path], folder: Path) -> None:
    drafted = draft_project(files, folder)
    sales, products = loaded(drafted, folder).sources
    assert (sales.kind, sales.timestamp_format, sales.delimiter) == ("events", None, ",")
    assert sales.columns == {
        "user_id": "regexp_replace(CustomerID, '[.]0$', '')", "item_id": "StockCode", "event": "'purchase'",
        "value": "Quantity", "occurred_at": "InvoiceDate",
    }  # fmt: skip
    assert [rule.when for rule in sales.rules] == ["CustomerID IS NULL", "Quantity <= 0"]
    assert (products.kind, products.path, products.columns["title"]) == ("items", sales.path, "trim(Description)")
    assert keys(drafted) == ["time_zone"], "no file says whose clock it was"


def check_movietweetings(files: list[Path], folder: Path) -> None:
    drafted = draft_project(files, folder)
    settings = loaded(drafted, folder)
    ratings, movies = settings.sources
    assert (ratings.header, ratings.delimiter, ratings.timestamp_format) == (False, "::", "seconds")
    assert list(ratings.fields) == ["user", "item", "value", "at"]
    assert ratings.columns["event"] == "'rating'"
    assert movies.columns == {"item_id": "item", "title": "title", "categories": "split(categories, '[|]')"}
    (rating,) = settings.signals
    assert (rating.valid, rating.min_value) in [((1, 10), 8), ((0, 10), 7)]
    assert keys(drafted) == []


def check_movielens(files: list[Path], folder: Path) -> None:
    drafted = draft_project(files, folder)
    settings = loaded(drafted, folder)
    ratings, films, people = settings.sources
    assert [each.kind for each in settings.sources] == ["events", "items", "users"]
    assert [each.name for each in settings.sources] == ["ml_100k_inter", "ml_100k_item", "ml_100k_user"]
    assert (ratings.columns["value"], ratings.timestamp_format) == ("`rating:float`", "seconds")
    assert films.columns["categories"] == "split(`class:token_seq`, ' ')"
    assert films.attributes == {"release_year": "`release_year:token`"}
    assert {*people.attributes} == {"age", "gender", "occupation"}
    assert people.null_values == (), "none is a job"
    assert [(each.event, each.min_value, each.valid) for each in settings.signals] == [("rating", 4, (1, 5))]
    assert keys(drafted) == []
    assert "ids of ml_100k_inter are in ml_100k_user" in drafted.text()


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (shops.online_retail, check_online_retail),
        (shops.movietweetings, check_movietweetings),
        (shops.movielens_100k, check_movielens),
    ],
)
def test_small_files_of_three_public_layouts(
    make: Callable[[Path], list[Path]], check: Callable[[list[Path], Path], None], tmp_path: Path
) -> None:
    (tmp_path / "files").mkdir()
    check(make(tmp_path / "files"), tmp_path)


@pytest.mark.slow
def test_the_real_online_retail(tmp_path: Path) -> None:
    if not all(file.exists() for file in shops.ONLINE_RETAIL):
        pytest.skip("Online Retail is not here")
    check_online_retail(shops.ONLINE_RETAIL, tmp_path)


@pytest.mark.slow
def test_the_real_movietweetings(tmp_path: Path) -> None:
    if not all(file.exists() for file in shops.MOVIETWEETINGS):
        pytest.skip("MovieTweetings is not here")
    check_movietweetings(shops.MOVIETWEETINGS, tmp_path)


@pytest.mark.slow
def test_the_real_movielens_100k(tmp_path: Path) -> None:
    if not (files := shops.real_movielens_100k(tmp_path)):
        pytest.skip("the wheel with MovieLens 100K was not fetched")
    check_movielens(files, tmp_path)


def test_a_quantity_counts_more_than_a_price_and_a_negative_one_is_no_purchase(write: Write, tmp_path: Path) -> None:
    rows = (f"u{n % 4},i{n % 7},{n % 9 - 3},{(1.25, 18.0)[n % 2]},2024-03-01" for n in range(60))
    found = source(draft(write("sales.csv", "customer,product,quantity,price,day", *rows)), tmp_path)
    assert found.columns["value"] == "quantity"
    assert [rule.when for rule in found.rules] == ["quantity <= 0"]


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (("Kunde", "Artikel", "Datum"), ("Kunde", "Artikel", "Datum")),
        (("fecha", "producto", "cliente"), ("cliente", "producto", "fecha")),
        (("date_achat", "id_client", "ref_produit"), ("id_client", "ref_produit", "date_achat")),
        (("商品", "ユーザー", "日時"), ("`ユーザー`", "`商品`", "`日時`")),
        (("when", "what", "who"), ("who", "what", "`when`")),
    ],
)
def test_columns_are_known_by_their_names_in_many_languages(
    names: tuple[str, ...], roles: tuple[str, ...], write: Write, tmp_path: Path
) -> None:
    day = {roles[2].strip("`"): "2024-03-01", roles[0].strip("`"): "u1", roles[1].strip("`"): "i1"}
    file = write("log.csv", ",".join(names), *[",".join(day[name] for name in names)] * 3)
    columns = source(draft(file), tmp_path).columns
    assert tuple(columns[name] for name in ("user_id", "item_id", "occurred_at")) == roles


@pytest.mark.parametrize(
    ("texts", "format"),
    [
        (["1.3.2024 9:05", "13.3.2024 19:05"], "d.M.yyyy H:mm"),
        (["3/1/2024 9:05", "3/13/2024 9:05"], "M/d/yyyy H:mm"),
        (["1/3/2024", "13/3/2024"], "d/M/yyyy"),
        (["20240301", "20240302"], "yyyyMMdd"),
        (["2024-03-01T10:00:00Z"], None),
        (["1709287200"], "seconds"),
        (["1709287200123"], "milliseconds"),
        (["1709287200123456"], "microseconds"),
        (["1709287200123456789"], "nanoseconds"),
    ],
)
def test_times_are_known_by_their_shape(texts: list[str], format: str | None, write: Write, tmp_path: Path) -> None:
    file = write("log.csv", "user,item,at", *(f"u1,i{text[-1]},{text}" for text in texts * 2))
    assert source(draft(file), tmp_path).timestamp_format == format


def test_a_month_that_may_be_a_day_is_asked_and_the_order_of_the_file_decides(write: Write, tmp_path: Path) -> None:
    days = [f"{month}/{day}/2024" for month in (1, 2) for day in (2, 5, 9)]
    drafted = draft(write("log.csv", "user,item,at", *(f"u{n},i{n},{day}" for n, day in enumerate(days))))
    assert source(drafted, tmp_path).timestamp_format == "M/d/yyyy"
    assert keys(drafted) == ["timestamp_format"]
    assert '# timestamp_format = "d/M/yyyy"' in drafted.text()


def test_numbers_with_commas_and_texts_for_missing_values(write: Write, tmp_path: Path) -> None:
    rows = (f"u{n};i{n % 3};{n},50;2024-03-01" for n in range(5))
    drafted = draft(write("log.csv", "user;item;price;day", *rows, "u1;i1;-;2024-03-01"))
    found = source(drafted, tmp_path)
    assert (found.delimiter, found.decimal_comma, found.null_values) == (";", True, ("-",))


@pytest.mark.parametrize(
    ("text", "encoding", "found", "asked"),
    [
        ("Jörg", "cp1252", "windows-1252", True),
        ("Настольная лампа под синим абажуром и кресло для отдыха из дерева", "cp1251", "windows-1251", True),
        ("Jörg", "utf-16", None, False),
        ("Jörg", "utf-16-le", "UTF-16LE", False),
        ("Jörg", "utf-8-sig", None, False),
    ],
)
def test_encodings(text: str, encoding: str, found: str | None, asked: bool, write: Write, tmp_path: Path) -> None:
    rows = (f"u{n};i{n % 3};2024-03-01;{text}" for n in range(5))
    file = write("log.csv", "user;item;at;name", *rows, encoding=encoding)
    drafted = draft(file)
    assert source(drafted, tmp_path).encoding == found
    assert ("encoding" in keys(drafted)) == asked


def test_a_text_among_the_numbers_of_an_attribute_costs_no_row(write: Write, tmp_path: Path) -> None:
    films = write("films.csv", "film_id,title,year,age", *(f"{n},A film {n},{1990 + n},{n + 6}" for n in range(40)))
    odd = films.read_text().replace(",1990,", ",V,").replace(",45", ",45+")
    films.write_text(odd)
    ratings = write("ratings.csv", "user,film_id,rating,day", *(f"u{n % 4},{n},5,2024-03-01" for n in range(40)))
    found = source(draft(ratings, films), tmp_path, 1)
    assert found.attributes == {"year": "year", "age": "age"}
    assert (found.fields["year"], found.fields["age"]) == ("string", "string")


def test_events_of_several_kinds_get_a_signal_each_and_refunds_are_skipped(write: Write, tmp_path: Path) -> None:
    events = ("view", "view", "add_to_cart", "purchase", "refund", "teleport")
    drafted = draft(
        write(
            "log.csv", "user,item,action,day", *(f"u{n},i{n % 2},{event},2024-03-01" for n, event in enumerate(events))
        )
    )
    settings = loaded(drafted, tmp_path)
    assert {each.event: each.weight for each in settings.signals} == {
        "view": 0.2, "add_to_cart": 0.5, "purchase": 1, "teleport": 0.2,
    }  # fmt: skip
    assert [rule.when for rule in settings.sources[0].rules] == ["action IN ('refund')"]
    assert keys(drafted) == ["event"]


def test_files_that_are_written_alike_are_one_source_and_tomorrows_file_falls_into_its_folder(tmp_path: Path) -> None:
    files = []
    for day in ("2024-03-01", "2024-03-02"):
        folder = tmp_path / "landing" / "clicks" / f"day={day}"
        folder.mkdir(parents=True)
        files.append(folder / "part-0.csv")
        files[-1].write_text("user,item\n" + "".join(f"u{n},i{n % 3}\n" for n in range(5)))
    drafted = draft_project(files, tmp_path)
    (found,) = loaded(drafted, tmp_path).sources
    assert (found.name, found.path, drafted.copies) == ("clicks", "landing/clicks", {})
    assert "_metadata.file_path" in found.columns["occurred_at"]


def test_a_file_among_others_is_copied_into_a_folder_of_its_own(write: Write, tmp_path: Path) -> None:
    ratings, readme = write("ratings.csv", "user,item,day", "u1,i1,2024-03-01"), write("README.txt", "Read me.")
    drafted = draft_project([ratings], tmp_path)
    assert drafted.copies == {ratings: tmp_path / "landing" / "ratings" / "ratings.csv"}
    assert readme.exists()


def test_what_no_column_shows_is_asked_and_blocks(write: Write, tmp_path: Path) -> None:
    rows = (f"u{n % 2},view,2024-03-01" for n in range(5))
    drafted = draft(write("log.csv", "user,action,day", *rows))
    assert not drafted.is_complete
    assert '# item_id = "..."' in drafted.text()
    with pytest.raises(SettingsError, match="lacks item_id"):
        loaded(drafted, tmp_path)


def test_without_events_no_project_is_complete(write: Write) -> None:
    drafted = draft(write("products.csv", "sku,title", "1,A lamp", "2,A chair", "3,A red table"))
    assert not drafted.is_complete
    assert keys(drafted) == ["signals"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b\x08 no gzip", r"a: .*\. Mend it, or leave it out"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a: it is an Excel workbook; save it as csv"),
        (b"\n\n", "a: it is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        draft_project([tmp_path / "a"], tmp_path)


def test_a_text_beside_the_data_is_left_out(write: Write, tmp_path: Path) -> None:
    prose = ("Permission is granted, free of charge, to any person", "who obtains a copy", "", "THE END, really.")
    drafted = draft(write("log.csv", "user,item,day", *["u1,i1,2024-03-01"] * 3), write("LICENSE", *prose))
    assert [Path(name).name for name in drafted.left_out] == ["LICENSE"]
    assert [each.name for each in loaded(drafted, tmp_path).sources] == ["log"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_large_file_is_sampled_at_its_begin_in_its_middle_and_at_its_end(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rows = (HEAD + 6 * LATER) // 20
    text = "number,text\n" + "".join(f"{n:09d},{'x' * 9}\n" for n in range(rows))
    file = tmp_path / "large.csv"
    file.write_bytes(pack(text.encode()))
    sample = take_sample(file, "large.csv", 0)
    found = [*sample.records(Layout("csv", {"number": "string", "text": "string"}))]
    numbers = [int(record[12:21]) for record, _, problem in found if problem is None]
    assert len(numbers) == len(found)
    assert numbers == sorted({*numbers})
    assert (numbers[0], numbers[-1]) == (0, rows - 1)
    assert any(0.4 * rows < number < 0.8 * rows for number in numbers)
    assert len(numbers) < 0.6 * rows
