"""The section of the Data dock that decides who trains, who validates and who tests."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QLabel, QPushButton, QSpinBox

from napari_seg3d.datasets import Dataset, Presence, StoredSplit, tally
from napari_seg3d.widgets.parts import Folded

_METHODS = {
    "fraction": ("Share of the subjects", "A share of the subjects validates, drawn from the seed."),
    "folds": ("Folds", "Several parts that validate in turn; the Train dock's Fold says which one."),
    "stride": ("Every n-th subject", "Every n-th subject validates, in the order of the names."),
}
_MOST_LABELS = 8


class SplitForm(Folded):
    """Draws a split, and freezes a test set.

    Attributes
    ----------
    drawn : Signal
        Split the cases as `wish` says.
    testDrawn : Signal
        (share) Draw a test set, and split the others so.
    frozen, unfrozen : Signal
        Freeze the test set, or let it be changed again.
    """

    drawn = Signal()
    testDrawn = Signal(float)
    frozen = Signal()
    unfrozen = Signal()

    def __init__(self) -> None:
        super().__init__(
            "Split",
            "Who trains, who validates and who is held back to test. Cases of one subject stay together, and each label is in the same "
            "share of the cases everywhere, as far as that is possible.",
        )
        self._is_frozen = False
        self._shown: StoredSplit | None = None
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        self.method = QComboBox()
        for name, (title, tooltip) in _METHODS.items():
            self.method.addItem(title, name)
            self.method.setItemData(self.method.count() - 1, tooltip, Qt.ItemDataRole.ToolTipRole)
        self.method.setToolTip("<p>How to decide who validates. Single cases can be moved afterwards, in the table.</p>")
        self.share = QDoubleSpinBox()
        self.share.setRange(0.01, 0.99)
        self.share.setSingleStep(0.05)
        self.share.setToolTip("<p>Share of the subjects that validates.</p>")
        self.folds, self.stride, self.seed = QSpinBox(), QSpinBox(), QSpinBox()
        self.folds.setRange(2, 100)
        self.folds.setToolTip("<p>How many parts.</p>")
        self.stride.setRange(2, 10_000)
        self.stride.setToolTip("<p>One of so many subjects validates.</p>")
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("<p>Another number draws other subjects; the same number the same ones.</p>")
        form.addRow("Method", self.method)
        for name, widget in (("Share", self.share), ("Folds", self.folds), ("n", self.stride), ("Seed", self.seed)):
            form.addRow(name, widget)
        self._form = form
        self.rows.addLayout(form)
        self.apply_button = QPushButton("Split")
        self.apply_button.setToolTip("<p>Decide for every case anew; the test set stays as it is.</p>")
        self.apply_button.clicked.connect(self.drawn)
        self.rows.addWidget(self.apply_button)
        tests = QHBoxLayout()
        self.test_share = QDoubleSpinBox()
        self.test_share.setRange(0.01, 0.9)
        self.test_share.setSingleStep(0.05)
        self.test_share.setValue(0.1)
        self.test_share.setToolTip("<p>Share of the subjects for the test set.</p>")
        self.test_button = QPushButton("Draw test set")
        self.test_button.setToolTip(
            "<p>Hold subjects back that neither train nor validate, and split the others by the choice above.</p>"
        )
        self.test_button.clicked.connect(lambda: self.testDrawn.emit(self.test_share.value()))
        self.freeze_button = QPushButton()
        self.freeze_button.clicked.connect(lambda: (self.unfrozen if self._is_frozen else self.frozen).emit())
        tests.addWidget(self.test_share)
        tests.addWidget(self.test_button, 1)
        self.rows.addLayout(tests)
        self.rows.addWidget(self.freeze_button)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.rows.addWidget(self.text)
        self.method.currentIndexChanged.connect(self._show_rows)
        self._take(StoredSplit("fraction"))
        self.show_split(None, None, {}, {}, False)

    @property
    def wish(self) -> StoredSplit:
        """What is chosen, for no case yet."""
        return StoredSplit(
            self.method.currentData(), self.share.value(), self.folds.value(), self.stride.value(), self.seed.value()
        )

    def show_split(
        self,
        split: StoredSplit | None,
        dataset: Dataset | None,
        presence: Presence,
        labels: dict[int, str],
        editable: bool,
    ) -> None:
        """Show a split, and what is in its sets."""
        if split is not self._shown:  # otherwise what a person has chosen and not applied yet stays
            self._take(split or StoredSplit("fraction"))
        self._shown = split
        self._is_frozen = split is not None and split.is_frozen
        self.apply_button.setEnabled(editable)
        self.test_button.setEnabled(editable and not self._is_frozen)
        self.test_share.setEnabled(editable and not self._is_frozen)
        self.freeze_button.setEnabled(editable and split is not None and bool(split.test))
        self.freeze_button.setText("Unfreeze the test set…" if self._is_frozen else "Freeze the test set…")
        self.freeze_button.setToolTip(
            "<p>Let the test set be changed again. Results before and after can then not be compared.</p>"
            if self._is_frozen
            else "<p>Note what these scans hold. From then on every training refuses them, under whatever name.</p>"
        )
        self.text.setText(_in_words(split, dataset, presence, labels))
        self._show_rows()

    def _take(self, split: StoredSplit) -> None:
        index = self.method.findData(split.method)
        if index >= 0:
            self.method.setCurrentIndex(index)
        self.share.setValue(split.validation)
        self.folds.setValue(split.folds)
        self.stride.setValue(split.stride)
        self.seed.setValue(split.seed)

    def _show_rows(self) -> None:
        method = self.method.currentData()
        for widget, shown in (
            (self.share, method == "fraction"),
            (self.folds, method == "folds"),
            (self.stride, method == "stride"),
            (self.seed, method != "stride"),
        ):
            self._form.setRowVisible(widget, shown)


def _in_words(split: StoredSplit | None, dataset: Dataset | None, presence: Presence, labels: dict[int, str]) -> str:
    if split is None or dataset is None:
        return "No split is stored: each training draws one, a fifth of the subjects for validation."
    lines = []
    for row in tally(split, dataset, presence):
        shares = [
            f"{escape(name)} {row.labels.get(value, 0) / row.cases:.0%}" for value, name in list(labels.items())[:_MOST_LABELS]
        ]
        shown = f": {', '.join(shares)}" if presence and shares else ""
        frozen = ", frozen" if row.place == "test" and split.is_frozen else ""
        lines.append(f"<b>{row.name}</b>{frozen}: {row.cases} cases of {row.subjects} subjects{shown}")
    return "<br>".join(lines)
