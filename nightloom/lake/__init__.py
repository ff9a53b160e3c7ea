"""Tables at an address, without Spark: Delta tables by contract, DuckDB, and the lists of gold.recommendations."""

from nightloom.lake.delta import MAINTENANCE_OPERATIONS as MAINTENANCE_OPERATIONS
from nightloom.lake.delta import Lake as Lake
from nightloom.lake.delta import check_violation as check_violation
from nightloom.lake.delta import transaction_id as transaction_id
from nightloom.lake.schemas import arrow as arrow
from nightloom.lake.schemas import arrow_schema as arrow_schema
from nightloom.lake.schemas import arrow_type as arrow_type
from nightloom.lake.schemas import properties as properties
from nightloom.values import as_json as as_json
from nightloom.values import now as now
