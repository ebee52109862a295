"""What raw data must keep before a model is built from it, and the report on what it is like."""

from batchyield.bounds import ContractParams
from batchyield.contract.check import ContractResult, check, frame
from batchyield.contract.report import report

__all__ = ["ContractParams", "ContractResult", "check", "frame", "report"]
