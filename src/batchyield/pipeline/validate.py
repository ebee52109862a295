"""Stage `validate`: checked batches of the raw file, or the list of its violations of the contract."""

from pathlib import Path

from batchyield.errors import ContractError
from batchyield.files import write_atomic
from batchyield.modelling.params import read_params
from batchyield.modelling.parquet import write_table
from batchyield.pipeline import run
from batchyield.plant.contract import check_contract, render_report, to_frame
from batchyield.plant.csv_reader import read_sheet

RAW = Path("data/raw/batches.csv")
REPORT = Path("data/validated/report.md")


def main() -> None:
    """Read `data/raw/batches.csv`; write `data/validated/`."""
    sheet = read_sheet(RAW.read_bytes())
    result = check_contract(sheet, read_params().validate)
    write_atomic(REPORT, render_report(result, sheet).encode())
    if result.violations:
        raise ContractError(str(RAW), list(result.violations), str(REPORT))
    write_table(Path("data/validated/batches.parquet"), to_frame(sheet))


if __name__ == "__main__":
    run(main)
