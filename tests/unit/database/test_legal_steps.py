import pytest

from metadata.database.id_chunks import MOST_IDS, id_chunks
from metadata.database.legal_steps import move_batch, move_file, move_operation
from metadata.database.models import Batch, Operation, SourceFile
from metadata.database.states import BatchState, FileState
from metadata.errors import Fatal


def test_a_step_that_is_not_legal_stops_everything() -> None:
    """Files, batches and operations move along the arrows of their states, and stay where they are at any other."""
    file, batch = SourceFile(id="f", name="a.json", state="claimed"), Batch(id="b", state="planned")
    operation = Operation(id="o", state="committed")
    move_file(file, FileState.BATCHED)
    move_batch(batch, BatchState.PREPARED)
    move_operation(operation, BatchState.SETTLED)
    assert (file.state, batch.state, operation.state) == ("batched", "prepared", "settled")
    with pytest.raises(Fatal, match=r"source file f \(a\.json\) from batched to held: not a legal step"):
        move_file(file, FileState.HELD)
    with pytest.raises(Fatal, match="batch b from prepared to abandoned"):
        move_batch(batch, BatchState.ABANDONED)
    with pytest.raises(Fatal, match="operation o from settled to planned"):
        move_operation(operation, BatchState.PLANNED)
    assert (file.state, batch.state, operation.state) == ("batched", "prepared", "settled")


def test_ids_come_in_parts_that_a_statement_takes() -> None:
    """In their order, each once, never more than a statement takes; nothing for none."""
    ids = [str(number) for number in range(2 * MOST_IDS + 1)]
    parts = list(id_chunks(ids))
    assert [each for part in parts for each in part] == ids
    assert [len(part) for part in parts] == [MOST_IDS, MOST_IDS, 1]
    assert list(id_chunks([])) == []
