"""Stage `validate`: checked batches of the raw data, or the list of their violations of the contract."""

from pathlib import Path

from batchyield.errors import ContractError
from batchyield.files import write_atomic
from batchyield.modelling.params import read_params
from batchyield.modelling.parquet import write_table
from batchyield.pipeline import raw_data, run
from batchyield.pipeline.raw_files import read_raw
from batchyield.plant.contract import check_contract, render_report

REPORT = Path("data/validated/report.md")


def main() -> None:
    """Read the raw data; write `data/validated/`."""
    raw = raw_data()
    table = read_raw(raw, progress=print)
    result = check_contract(table, read_params().validate)
    write_atomic(REPORT, render_report(result, table).encode())
    if result.violations:
        raise ContractError(str(raw), list(result.violations), str(REPORT))
    write_table(Path("data/validated/batches.parquet"), table.frame)


if __name__ == "__main__":
    run(main)
