"""A short form of ``make soak``."""

from tests import soak


def test_no_answer_is_anothers_and_a_killed_server_starts_again() -> None:
    rows = [*soak.soak_server(2 * soak.CLIENTS), soak.soak_predict(10)]
    assert [row["wrong"] for row in rows] == [0, 0, 0], rows
    assert [row["requests"] >= least for row, least in zip(rows, (2 * soak.CLIENTS, 8, 10), strict=True)] == [True] * 3
    assert all(row["memory_mb"] > 0 for row in rows) and rows[1]["ready_s"] > 0
