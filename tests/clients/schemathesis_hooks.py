"""What schemathesis cannot know."""

import json
import os
import re
from itertools import count

import schemathesis
from schemathesis.auths import AuthContext, set_on_case

number = count()

# Requests that succeed, by operation.
with open(os.environ["NEXUS_EXAMPLES"]) as file:
    EXAMPLES = json.load(file)


@schemathesis.hook
def before_add_examples(context, examples):
    operation = context.operation
    example = EXAMPLES.get(operation.definition.raw.get("operationId"))
    if example is not None:
        media_type = "application/json" if "body" in example else None
        case = operation.Case(**example, media_type=media_type)
        # As the user whom the configuration logs in, which it does only for cases of its own.
        set_on_case(case, AuthContext(operation=operation, app=operation.app), None)
        examples.append(case)


@schemathesis.hook
def before_call(context, case, kwargs):
    # A key that has been used before would only ever be refused.
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and 0 < len(key) < 200:
        case.headers["Idempotency-Key"] = f"{key}{next(number)}"


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    # An id is read as far as it is a number, as the Node service did: "1.5" and "1st" are 1, and no mistake.
    ids = [str(value) for name, value in (path_parameters or {}).items() if name != "job_id"]
    return not any(re.match(r"\d+\D", id) for id in ids)
