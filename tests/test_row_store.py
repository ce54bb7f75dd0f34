"""Rows kept in a file: found again, waited for, dropped when made otherwise, told when damaged."""

import sqlite3
from contextlib import closing

import pytest

from faceverify.base import row_store
from faceverify.base.row_store import RowStore

ROW = ("a", "first", "1", b"\0'", None)


@pytest.fixture
def opened(tmp_path):
    """Open the store of this test, as often as wanted, with other means or columns if given."""

    def opened(made_by="means", values=("mark", "vector", "error"), exclusive=False):
        path = tmp_path / "rows.sqlite"
        return closing(RowStore(path, made_by, ("photo", "slot"), values, exclusive=exclusive))

    return opened


def test_what_was_put_in_is_found_by_the_next_that_opens_the_file(opened):
    with opened() as store:
        store.put([ROW])
    with opened() as store:
        assert store.get(("a", "first"), "a") == ("1", b"\0'", None)
        with pytest.raises(sqlite3.DatabaseError, match=r"what is kept of a\.jpg is damaged"):
            store.get(("a", "second"), "a.jpg")


@pytest.mark.parametrize("change", [{"made_by": "others"}, {"values": ("vector", "mark", "error")}])
def test_what_was_made_otherwise_or_has_other_columns_is_dropped(opened, change):
    with opened() as store:
        store.put([ROW])
    with opened(**change) as store:
        assert store.counts() == (0, 0)
        store.put([ROW])
        assert store.counts() == (1, 1)


def test_what_another_process_holds_is_not_called_damaged(opened, tmp_path):
    file = tmp_path / "rows.sqlite"
    with opened(exclusive=True), pytest.raises(sqlite3.Error) as held, opened(exclusive=True):
        pass
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.Error) as damaged, opened():
        pass
    with pytest.raises(sqlite3.Error) as closed:
        sqlite3.connect(tmp_path / "missing" / "rows.sqlite")
    assert [row_store.why_unusable(file, error.value) for error in (held, damaged, closed)] == [
        f"{file}: another run uses it now; wait until that has ended",
        f"{file}: file is not a database; remove it and run the same command again",
        f"{file}: unable to open database file; see that there is room and that you may write "
        "there",
    ]


def test_only_what_is_expected_now_and_has_no_values_waits(opened):
    with opened() as store:
        store.expect([("left", "first")])
        store.put([ROW])
        store.expect([("c", "first"), ("a", "second"), ("a", "first"), ("a", "second")])
        assert list(store.waiting()) == [("a", "second"), ("c", "first")]
        assert store.counts() == (0, 2)
        store.put([("a", "second", "2", b"", "")])
        assert list(store.waiting()) == [("c", "first")]
        assert store.counts() == (1, 2)


def test_an_expectation_that_fails_half_way_changes_nothing(opened):
    def keys():
        yield ("b", "first")
        raise ValueError

    with opened() as store:
        store.expect([("a", "first")])
        with pytest.raises(ValueError):
            store.expect(keys())
        assert list(store.waiting()) == [("a", "first")]


def test_a_row_waits_again_when_its_mark_is_not_the_present_one(opened):
    with opened() as store:
        store.put([ROW, ("b", "first", "1", None, "blurred")])
        store.expect_changed("mark", {"a": "1", "b": "2"}.get)
        assert list(store.waiting()) == [("b", "first")]


def test_all_that_waits_comes_once_and_in_order_while_rows_are_put_in(opened, monkeypatch):
    monkeypatch.setattr(row_store, "PART", 3)
    keys = [(f"{i:02d}", slot) for i in range(10) for slot in ("first", "second")]
    with opened() as store:
        store.expect(reversed(keys))
        seen = []
        for key in store.waiting():
            seen.append(key)
            store.put([(*key, "1", None, "")])
        assert seen == keys
        assert list(store.waiting()) == []


@pytest.mark.parametrize("change", ["vector = x'01'", "error = ''", "slot = 'second'"])
def test_a_row_that_is_not_what_was_put_in_is_told(opened, tmp_path, change):
    with opened() as store:
        store.put([ROW])
    with closing(sqlite3.connect(tmp_path / "rows.sqlite")) as database:
        database.execute(f"UPDATE kept SET {change}")
        database.commit()
    slot = "second" if "slot" in change else "first"
    with opened() as store, pytest.raises(sqlite3.DatabaseError, match="of the photo is damaged"):
        store.get(("a", slot), "the photo")


def test_a_key_that_is_no_text_is_told_instead_of_waited_for(opened, tmp_path):
    with opened() as store:
        store.expect([("a", "first")])
    with closing(sqlite3.connect(tmp_path / "rows.sqlite")) as database:
        database.execute("UPDATE kept SET photo = x'ff'")
        database.commit()
    with opened() as store, pytest.raises(sqlite3.DatabaseError, match="what waits is damaged"):
        list(store.waiting())


def test_a_damaged_name_that_is_no_text_is_told(opened, tmp_path):
    with opened() as store:
        store.put([ROW])
    path = tmp_path / "rows.sqlite"
    path.write_bytes(path.read_bytes().replace(b"TABLE kept (", b"TABLE\xed kept("))
    with pytest.raises(sqlite3.DatabaseError, match="damaged|malformed"):
        opened()


def test_two_share_a_file_unless_one_keeps_others_out(opened):
    with opened() as one, opened() as other:
        one.put([ROW])
        assert other.get(("a", "first"), "a") == ROW[2:]
    with opened(exclusive=True), pytest.raises(sqlite3.OperationalError, match="is locked"):
        opened(exclusive=True)
