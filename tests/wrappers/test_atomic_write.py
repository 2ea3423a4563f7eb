import pytest

from bisimgym.wrappers.atomic_write import atomic_write


def test_a_file_is_replaced_whole_or_left_alone(tmp_path):
    path = tmp_path / "model.zip"
    with atomic_write(path) as temporary:
        temporary.write_text("first")
        assert temporary.suffix == ".zip"
        assert temporary.parent == tmp_path
        assert not path.exists()
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half of the sec")
        raise RuntimeError
    assert path.read_text() == "first"
    with atomic_write(str(path)) as temporary:
        temporary.write_text("second")
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]
