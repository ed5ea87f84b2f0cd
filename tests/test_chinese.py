"""Tests of tests/chinese.py, and of the book in Traditional Chinese by its rules."""

import pytest

from chinese import TERMS, faults, wrong_in

FOLDER = TERMS.parent / "LC_MESSAGES"
FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.po"))


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("**You need** [](grad-fn.md): the graph.", "**先備知識** [](grad-fn.md)：計算圖。"),
        ("comes in: <b>{name}</b> = {numbers}", "流入：<b>{name}</b> = {numbers}"),
        ("Non-leaf tensors, and leaves", "非葉節點張量與葉節點"),
        ("*leaf*", "*葉節點*"),
        (
            "see {ref}`no-graph`, {ref}`a list <in-list>`",
            "見 {ref}`no-graph`、{ref}`串列 <in-list>`",
        ),
        ("{term}`Kinks <kink>` and {term}`kink`", "{term}`折點 <kink>`與{term}`折點 <kink>`"),
        ("SliceBackward0", "SliceBackward0"),
    ],
)
def test_a_good_translation_has_no_fault(english, chinese):
    """Also where code, marks and places for values stand in it."""
    assert list(faults(english, chinese)) == []


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        ("The gradient.", "導數。", "'gradient' is not said as 梯度"),
        ("Call it 2 times.", "呼叫它 3 次。", "numbers differ: without ['2'], with ['3']"),
        (
            "{count} nodes",
            "{number} 個節點",
            "code differs: without ['{count}'], with ['{number}']",
        ),
        ("**Later.** And", "**稍後。**以及", "emphasis differs: without ['strong_open'], with []"),
        ("in torch", "在裡面", "'torch' is not kept"),
        ("the memory", "內存與記憶體", "'內存' is not said in Taiwan: 記憶體"),
        ("a tensor", "张量與張量", "not Traditional Chinese: 张"),
        ("in torch", "在torch 裡", "no space between Chinese and Latin: '在t'"),
        ("`x` is", "`x`是", "no space beside code: '`x`是'"),
        ("Here, there", "這裡, 那裡", "half-width mark: '裡,'"),
        ("Here, there", "這裡， 那裡", "a space beside a full-width mark: '， '"),
    ],
)
def test_a_fault_is_named(english, chinese, fault):
    """One that a reader in Taiwan would stumble over, or that changes what is said."""
    assert list(faults(english, chinese)) == [fault]


def test_a_comment_frees_a_message_from_a_term(tmp_path):
    """Where the word means something else."""
    path = tmp_path / "page.po"
    entry = 'msgid "a file in memory of her"\nmsgstr "紀念她的檔案"\n'
    path.write_text(entry, encoding="utf-8")
    assert [fault for _, fault in wrong_in(path)] == ["'memory' is not said as 記憶體"]
    path.write_text(f'# not "memory": what is remembered\n{entry}', encoding="utf-8")
    assert list(wrong_in(path)) == []


@pytest.mark.parametrize("file", FILES)
def test_the_book_keeps_to_its_rules(file):
    """Terms, numbers, code, and marks."""
    assert list(wrong_in(FOLDER / file)) == []
