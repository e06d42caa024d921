"""What was measured: series of runs, their medians, the ratios that matter; tables and JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

BEGIN, END = "<!-- begin: make bench writes this -->", "<!-- end -->"


@dataclass
class Series:
    """The runs of one subject in one case.

    Attributes:
        subject: Who.
        figures: Figure -> the value of each run.
    """

    subject: str
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        """Add one run."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """The median of a figure over the runs."""
        return median(self.figures[name])


@dataclass(frozen=True)
class Claim:
    """Something the measurement should show.

    Attributes:
        text: What is compared.
        value: What was found.
        bound: What it should be at least or at most.
        sense: Which of them.
        unit: Of value and bound: "x" for ratios.
    """

    text: str
    value: float
    sense: Literal["at least", "at most"]
    bound: float
    unit: str = "x"

    @property
    def holds(self) -> bool:
        """Whether it was shown."""
        if self.sense == "at least":
            return self.value >= self.bound
        return self.value <= self.bound


@dataclass
class Section:
    """One benchmark case with all its subjects.

    Attributes:
        title: What was measured.
        series: In turns, one after the other.
        units: Figure -> its heading in tables.
        claims: What it should show.
        note: A sentence for the reader of the table.
    """

    title: str
    units: dict[str, str]
    series: list[Series] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    note: str = ""

    def of(self, subject: str) -> Series:
        """The series of a subject, made when it is new."""
        for series in self.series:
            if series.subject == subject:
                return series
        self.series.append(Series(subject))
        return self.series[-1]

    def ratio(self, figure: str, subject: str, rival: str) -> float:
        """The median over the turns of subject / rival: both of a turn saw the same machine."""
        ours, theirs = self.of(subject).figures[figure], self.of(rival).figures[figure]
        return median(a / b for a, b in zip(ours, theirs, strict=True))

    def markdown(self) -> str:
        """The section as a table, with its claims below."""
        heads = ["", *self.units.values()]
        lines = [f"### {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        for series in self.series:
            cells = [series.subject]
            cells += [
                _number(series.median(name)) if name in series.figures else ""
                for name in self.units
            ]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *(f"- {_sentence(claim)}" for claim in self.claims)]
        return "\n".join(lines).rstrip() + "\n"


def _sentence(claim: Claim) -> str:
    unit = "" if claim.unit == "x" else " "
    found = f"**{_number(claim.value)}{unit}{claim.unit}**"
    mark = "" if claim.holds else " (**missed**)"
    return f"{claim.text}: {found}, wanted {claim.sense} {claim.bound:g}{unit}{claim.unit}{mark}"


def _number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value >= 1000:
        digits = 3 - len(str(int(value)))
        return f"{round(value, digits):,.0f}"
    return f"{value:.3g}"


def machine() -> dict[str, str]:
    """What the figures depend on."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": model.group(1) if model else platform.machine(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "node": node.stdout.strip().lstrip("v"),
    }


def save(sections: dict[str, Section], path: Path) -> None:
    """Write sections to the file, keeping those in it that were not measured now."""
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for key, section in sections.items():
        known[key] = {"machine": machine(), **dataclasses.asdict(section)}
    path.write_text(json.dumps(known, indent=1) + "\n")


def load(path: Path) -> dict[str, Section]:
    """Read what `save` wrote."""
    sections = {}
    for key, data in json.loads(path.read_text()).items():
        sections[key] = Section(
            data["title"],
            data["units"],
            [Series(**series) for series in data["series"]],
            [Claim(**claim) for claim in data["claims"]],
            data["note"],
        )
    return sections


def write_docs(results: Path, docs: Path, order: list[str]) -> None:
    """Replace the tables in the documentation by those of the results file."""
    sections = load(results)
    machines = {key: data["machine"] for key, data in json.loads(results.read_text()).items()}
    text = docs.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    present = [key for key in order if key in sections]
    where = {_where(machines[key]) for key in present}
    tables = "\n".join([*sorted(where), *(sections[key].markdown() for key in present)])
    docs.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{after}")


def _where(machine: dict[str, str]) -> str:
    return (
        f"Measured on {machine['date']}: {machine['cores']} cores of {machine['processor']}, "
        f"{machine['system']}, Python {machine['python']}, Node.js {machine['node']}, "
        "all processes on this one machine.\n"
    )
