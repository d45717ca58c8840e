"""The memory limit of a control group, read from trees of files as the kernel lays them out."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from phasescope.backends.cgroup import KernelFile, Limit, MemoryCgroup
from support.fakes.processes import open_files_below

MIB = 1024 * 1024
MACHINE_BYTES = 64 * 1024 * MIB
UNLIMITED_V1 = 9223372036854771712

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="control groups are Linux's")


class Tree:
    """A file tree such as `/sys/fs/cgroup`, and the file that says where in it this process is."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "cgroup"
        self.root.mkdir()
        self.membership = folder / "membership"
        self.between_questions_ns = 1_000_000_000
        self._now_ns = 0

    def cgroup(self, *lines: str) -> MemoryCgroup:
        self.membership.write_text("".join(f"{line}\n" for line in lines))
        return MemoryCgroup(self.root, self.membership, self._monotonic_ns)

    def _monotonic_ns(self) -> int:
        self._now_ns += self.between_questions_ns
        return self._now_ns

    def v2(self, path: str, limit: object, usage: int = 0, inactive_file: int = 0) -> Path:
        stat = f"anon 5\nfile 77\nkernel 9\ninactive_anon 3\ninactive_file {inactive_file}\nactive_file 8\n"
        return self._group(path, {"memory.max": limit, "memory.current": usage, "memory.stat": stat})

    def v1(self, path: str, limit: object, usage: int = 0, inactive_file: int = 0) -> Path:
        stat = f"cache 7\ninactive_file 11\nhierarchical_memory_limit 1\ntotal_inactive_file {inactive_file}\n"
        files = {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}
        return self._group(f"memory/{path}", files)

    def _group(self, path: str, files: dict[str, Any]) -> Path:
        group = self.root / path
        group.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (group / name).write_text(f"{text}\n")
        return group


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@linux
class TestV2:
    def test_a_limit_on_an_ancestor_holds_with_the_use_of_all_below_it(self, tree: Tree) -> None:
        tree.v2("job", "max", usage=900)
        tree.v2("job/pod", 800 * MIB, usage=300 * MIB, inactive_file=100 * MIB)
        tree.v2("job/pod/app", "max", usage=50 * MIB)
        assert tree.cgroup("0::/job/pod/app").limit(MACHINE_BYTES) == Limit(800 * MIB, 200 * MIB)

    def test_the_lowest_of_several_limits_holds(self, tree: Tree) -> None:
        tree.v2("job", 900 * MIB, usage=1)
        tree.v2("job/pod", 500 * MIB, usage=2)
        tree.v2("job/pod/app", 700 * MIB, usage=3)
        assert tree.cgroup("0::/job/pod/app").limit(MACHINE_BYTES) == Limit(500 * MIB, 2)

    def test_of_equal_limits_the_outer_one_holds(self, tree: Tree) -> None:
        tree.v2("job", 500 * MIB, usage=20)
        tree.v2("job/app", 500 * MIB, usage=10)
        assert tree.cgroup("0::/job/app").limit(MACHINE_BYTES) == Limit(500 * MIB, 20)

    def test_inside_a_namespace_the_root_is_the_group(self, tree: Tree) -> None:
        tree.v2(".", 800 * MIB, usage=10)
        assert tree.cgroup("0::/").limit(MACHINE_BYTES) == Limit(800 * MIB, 10)

    @pytest.mark.parametrize("path", ["/docker/0123abcd", "/../../system.slice/app"])
    def test_a_path_that_is_not_visible_here_falls_back_to_the_root(self, tree: Tree, path: str) -> None:
        tree.v2(".", 800 * MIB, usage=10)
        assert tree.cgroup(f"0::{path}").limit(MACHINE_BYTES) == Limit(800 * MIB, 10)

    def test_a_path_out_of_the_namespace_is_not_followed(self, tree: Tree) -> None:
        tree.v2(".", 800 * MIB, usage=10)
        tree.v2("../outside", 100 * MIB, usage=20)
        assert tree.cgroup("0::/../outside").limit(MACHINE_BYTES) == Limit(800 * MIB, 10)

    def test_no_limit_anywhere_is_none(self, tree: Tree) -> None:
        tree.v2("job", "max", usage=10)
        tree.v2("job/app", "max", usage=10)
        assert tree.cgroup("0::/job/app").limit(MACHINE_BYTES) is None

    def test_a_limit_of_no_less_than_the_machine_has_is_none(self, tree: Tree) -> None:
        tree.v2("job", MACHINE_BYTES, usage=10)
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) is None

    def test_a_group_without_the_memory_controller_leaves_its_ancestors_limit(self, tree: Tree) -> None:
        tree.v2("job", 800 * MIB, usage=10)
        (tree.root / "job/app").mkdir()
        assert tree.cgroup("0::/job/app").limit(MACHINE_BYTES) == Limit(800 * MIB, 10)

    def test_a_limit_changed_at_run_time_is_seen(self, tree: Tree) -> None:
        group = tree.v2("job", "max", usage=10)
        cgroup = tree.cgroup("0::/job")
        assert cgroup.limit(MACHINE_BYTES) is None
        (group / "memory.max").write_text(f"{300 * MIB}\n")
        (group / "memory.current").write_text("99\n")
        assert cgroup.limit(MACHINE_BYTES) == Limit(300 * MIB, 99)

    def test_within_a_second_the_limit_is_not_read_again_but_the_use_is(self, tree: Tree) -> None:
        group = tree.v2("job", 800 * MIB, usage=10)
        cgroup = tree.cgroup("0::/job")
        tree.between_questions_ns = 600_000_000
        assert cgroup.limit(MACHINE_BYTES) == Limit(800 * MIB, 10)
        (group / "memory.max").write_text(f"{300 * MIB}\n")
        (group / "memory.current").write_text("99\n")
        assert cgroup.limit(MACHINE_BYTES) == Limit(800 * MIB, 99)
        assert cgroup.limit(MACHINE_BYTES) == Limit(300 * MIB, 99)


@linux
class TestV1:
    def test_the_lowest_limit_among_the_ancestors_holds(self, tree: Tree) -> None:
        tree.v1(".", UNLIMITED_V1, usage=900)
        tree.v1("slurm/job_7", 500 * MIB, usage=300, inactive_file=100)
        tree.v1("slurm/job_7/step_0", UNLIMITED_V1, usage=50)
        cgroup = tree.cgroup("5:cpu:/x", "4:memory:/slurm/job_7/step_0", "1:name=systemd:/")
        assert cgroup.limit(MACHINE_BYTES) == Limit(500 * MIB, 200)

    def test_a_path_that_is_not_visible_in_the_container_falls_back_to_the_controllers_root(self, tree: Tree) -> None:
        tree.v1(".", 500 * MIB, usage=300)
        assert tree.cgroup("4:memory:/docker/0123abcd").limit(MACHINE_BYTES) == Limit(500 * MIB, 300)

    def test_the_huge_number_that_means_unlimited_is_none(self, tree: Tree) -> None:
        tree.v1(".", UNLIMITED_V1, usage=300)
        assert tree.cgroup("4:memory:/").limit(MACHINE_BYTES) is None


@linux
class TestHybrid:
    def test_v1_is_read_where_it_has_the_memory_controller(self, tree: Tree) -> None:
        tree.v1("job", 500 * MIB, usage=300)
        (tree.root / "unified/job").mkdir(parents=True)
        assert tree.cgroup("4:memory:/job", "0::/job").limit(MACHINE_BYTES) == Limit(500 * MIB, 300)

    def test_v2_beside_v1_is_read_where_it_has_the_memory_controller(self, tree: Tree) -> None:
        tree.v2("unified/job", 500 * MIB, usage=300)
        assert tree.cgroup("4:cpu:/job", "0::/job").limit(MACHINE_BYTES) == Limit(500 * MIB, 300)

    def test_v2_is_read_where_the_v1_controller_is_not_mounted(self, tree: Tree) -> None:
        tree.v2("job", 500 * MIB, usage=300)
        assert tree.cgroup("4:memory:/gone", "0::/job").limit(MACHINE_BYTES) == Limit(500 * MIB, 300)


@linux
class TestUse:
    def test_page_cache_that_can_be_taken_back_does_not_count(self, tree: Tree) -> None:
        tree.v2("job", 800 * MIB, usage=700 * MIB, inactive_file=650 * MIB)
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) == Limit(800 * MIB, 50 * MIB)

    def test_it_is_never_negative(self, tree: Tree) -> None:
        """Usage and page cache are two files, read one after the other."""
        tree.v2("job", 800 * MIB, usage=10, inactive_file=11)
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) == Limit(800 * MIB, 0)

    @pytest.mark.parametrize("stat", ["", "anon 5\nworkingset_inactive_file 400\n", "inactive_file 400\n"])
    def test_the_key_is_matched_whole_and_may_be_missing(self, tree: Tree, stat: str) -> None:
        group = tree.v2("job", 800 * MIB, usage=1000)
        (group / "memory.stat").write_text(stat)
        used_bytes = 600 if stat.startswith("inactive_file") else 1000
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) == Limit(800 * MIB, used_bytes)


@linux
class TestNothingToRead:
    def test_no_membership_file_is_none(self, tree: Tree) -> None:
        assert MemoryCgroup(tree.root, tree.root / "missing").limit(MACHINE_BYTES) is None

    @pytest.mark.parametrize("lines", [[], [""], ["nonsense"], ["0"], ["4:cpu:/job"]])
    def test_a_membership_without_a_memory_group_is_none(self, tree: Tree, lines: list[str]) -> None:
        tree.v2(".", 800 * MIB)
        assert tree.cgroup(*lines).limit(MACHINE_BYTES) is None

    def test_no_files_are_none(self, tree: Tree) -> None:
        assert tree.cgroup("4:memory:/job", "0::/job").limit(MACHINE_BYTES) is None

    @pytest.mark.parametrize("name", ["memory.max", "memory.current", "memory.stat"])
    def test_a_file_that_can_not_be_opened_is_none(self, tree: Tree, name: str) -> None:
        file = tree.v2("job", 800 * MIB) / name
        file.unlink()
        file.symlink_to(file)  # refuses even root, as a mode does not
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) is None

    @pytest.mark.parametrize("name", ["memory.max", "memory.current"])
    @pytest.mark.parametrize("text", ["", "banana", "1.5"])
    def test_a_file_that_makes_no_sense_is_none(self, tree: Tree, name: str, text: str) -> None:
        (tree.v2("job", 800 * MIB) / name).write_text(text)
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) is None

    def test_a_folder_in_place_of_a_file_is_none(self, tree: Tree) -> None:
        file = tree.v2("job", 800 * MIB) / "memory.max"
        file.unlink()
        file.mkdir()
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) is None


@linux
class TestFiles:
    def test_each_is_opened_once(self, tree: Tree) -> None:
        tree.v2("job", 800 * MIB, usage=10)
        cgroup = tree.cgroup("0::/job")
        cgroup.limit(MACHINE_BYTES)
        opened = open_files_below(tree.root)
        cgroup.limit(MACHINE_BYTES)
        assert len(opened) == 3
        assert open_files_below(tree.root) == opened
        cgroup.close()

    def test_closing_leaves_none_open_and_asking_opens_them_again(self, tree: Tree) -> None:
        tree.v2("job", 800 * MIB, usage=10)
        cgroup = tree.cgroup("0::/job")
        cgroup.limit(MACHINE_BYTES)
        cgroup.close()
        assert open_files_below(tree.root) == []
        assert cgroup.limit(MACHINE_BYTES) == Limit(800 * MIB, 10)

    def test_they_are_closed_with_the_object(self, tree: Tree) -> None:
        tree.v2("job", 800 * MIB, usage=10)
        cgroup = tree.cgroup("0::/job")
        cgroup.limit(MACHINE_BYTES)
        del cgroup
        assert open_files_below(tree.root) == []

    def test_a_group_that_cannot_be_opened_in_full_leaves_none_open(self, tree: Tree) -> None:
        (tree.v2("job", 800 * MIB) / "memory.stat").unlink()
        assert tree.cgroup("0::/job").limit(MACHINE_BYTES) is None
        assert open_files_below(tree.root) == []

    def test_a_process_moved_out_of_a_removed_group_is_found_in_its_new_one(
        self, tree: Tree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tree.v2("old", 800 * MIB, usage=10)
        tree.v2("new", 600 * MIB, usage=20)
        cgroup = tree.cgroup("0::/old")
        assert cgroup.limit(MACHINE_BYTES) == Limit(800 * MIB, 10)
        pread = os.pread

        def pread_after_removal(fd: int, length: int, offset: int) -> bytes:
            if "/old/" in str(Path(f"/proc/self/fd/{fd}").readlink()):
                raise OSError(errno.ENODEV, "No such device")  # what the kernel says of a removed group
            return pread(fd, length, offset)

        monkeypatch.setattr(os, "pread", pread_after_removal)
        tree.membership.write_text("0::/new\n")
        assert cgroup.limit(MACHINE_BYTES) == Limit(600 * MIB, 20)

    def test_descriptors_that_someone_else_closed_are_opened_again(self, tree: Tree) -> None:
        tree.v2("job", 800 * MIB, usage=10)
        cgroup = tree.cgroup("0::/job")
        cgroup.limit(MACHINE_BYTES)
        for fd in open_files_below(tree.root):
            os.close(fd)
        assert cgroup.limit(MACHINE_BYTES) == Limit(800 * MIB, 10)


@linux
def test_a_file_under_the_number_of_a_closed_descriptor_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_bytes(b"1 2 3")
    kernels = KernelFile(tmp_path / "kernels", os.O_RDWR)
    number = kernels.fd
    os.close(number)  # as a daemon does
    fd = os.open(tmp_path / "checkpoint", os.O_RDWR | os.O_CREAT)
    if fd != number:
        os.dup2(fd, number)
        os.close(fd)
    assert not kernels.is_held()
    kernels.write(b"5")
    assert kernels.read() == b"5 2 3"
    kernels.close()
    assert os.path.samestat(os.fstat(number), (tmp_path / "checkpoint").stat())
    os.close(number)
    assert (tmp_path / "checkpoint").read_bytes() == b""


def test_the_files_of_this_machine_are_understood() -> None:
    limit = MemoryCgroup().limit(1 << 62)
    assert limit is None or (limit.used_bytes >= 0 and 0 < limit.limit_bytes < 1 << 62)


@pytest.mark.neutral
def test_without_pread_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path)
    tree.v2("job", 800 * MIB, usage=10)
    monkeypatch.delattr(os, "pread", raising=False)
    assert tree.cgroup("0::/job").limit(MACHINE_BYTES) is None
