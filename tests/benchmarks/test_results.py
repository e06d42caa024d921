"""Medians, ratios and tables of the benchmarks."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.results import BEGIN, END, Claim, Section, load, save, write_docs


def _section() -> Section:
    section = Section("Fan-out", {"rate": "deliveries/s"})
    for ours, theirs in ((900_000, 100_000), (100_000, 50_000), (1_000_000, 200_000)):
        section.of("twbridge").add(rate=ours)
        section.of("Node").add(rate=theirs)
    return section


class SectionTests(SynchronousTestCase):
    """What a table shows."""

    def test_figures_are_medians(self) -> None:
        self.assertEqual(_section().of("twbridge").median("rate"), 900_000)

    def test_ratio_is_taken_within_each_turn(self) -> None:
        self.assertEqual(_section().ratio("rate", "twbridge", "Node"), 5)

    def test_table_has_three_digits(self) -> None:
        section = _section()
        section.of("twbridge").figures["rate"] = [876_543.2]
        self.assertIn("| twbridge | 877,000 |", section.markdown())

    def test_missed_claim_says_so(self) -> None:
        section = _section()
        section.claims.append(Claim("Memory of a client", 17.3, "at most", 16, "KB"))
        self.assertIn("**17.3 KB**, wanted at most 16 KB (**missed**)", section.markdown())

    def test_bound_itself_holds(self) -> None:
        self.assertTrue(Claim("p99", 1, "at most", 1).holds)
        self.assertTrue(Claim("rate", 3, "at least", 3).holds)


class FileTests(SynchronousTestCase):
    """Where results are kept."""

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def test_sections_come_back(self) -> None:
        path = self.directory / "results.json"
        save({"one": _section()}, path)
        self.assertEqual(load(path), {"one": _section()})

    def test_sections_not_measured_again_are_kept(self) -> None:
        path = self.directory / "results.json"
        save({"one": _section()}, path)
        save({"two": _section()}, path)
        self.assertEqual(list(load(path)), ["one", "two"])

    def test_docs_keep_their_words_around_the_tables(self) -> None:
        results, docs = self.directory / "results.json", self.directory / "benchmarks.md"
        docs.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
        save({"one": _section()}, results)
        write_docs(results, docs, ["one", "two"])
        text = docs.read_text()
        self.assertTrue(text.startswith("before\n"))
        self.assertTrue(text.endswith("after\n"))
        self.assertIn("### Fan-out", text)
        self.assertNotIn("old", text)
