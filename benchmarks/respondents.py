"""Split the coupon survey by respondent: `<name>-respondents-<split>.csv` next to the file.

    python benchmarks/respondents.py data/real/coupon.csv

A respondent is a combination of the columns that describe one; 60 % of them train, 20 % validate, 20 % test.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

FIRST, LAST = "gender", "Restaurant20To50"  # of the columns that describe a respondent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    respondent = rows.loc[:, FIRST:LAST].agg("|".join, axis=1)
    names = respondent.unique()
    draw = dict(zip(names, np.random.default_rng(0).random(len(names)), strict=True))
    part = pd.cut(respondent.map(draw), [0, 0.6, 0.8, 1], labels=["train", "valid", "test"], right=False)
    for split, own in rows.groupby(part, observed=True):
        own.to_csv(file.with_name(f"{file.stem}-respondents-{split}.csv"), index=False)


if __name__ == "__main__":
    main()
