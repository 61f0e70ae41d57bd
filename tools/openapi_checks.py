"""A check of schemathesis's for what OpenAPI itself cannot say: an error's reason is one that the
document lists for that operation and status."""

import schemathesis


def _resolve(document, value):
    while "$ref" in value:
        target = document
        for part in value["$ref"][2:].split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


@schemathesis.check
def documented_reason(ctx, response, case):
    if response.status_code < 400 or case.method.lower() != case.operation.method.lower():
        return
    document = case.operation.schema.raw_schema
    documented = document["paths"][case.operation.path][case.operation.method.lower()]["responses"]
    listed = documented.get(str(response.status_code))
    if listed is None:
        return  # status_code_conformance says so
    reasons = [
        detail["reason"]
        for detail in response.json()["error"]["details"]
        if detail["@type"].endswith("/google.rpc.ErrorInfo")
    ]
    assert len(reasons) == 1, f"{len(reasons)} reasons"
    assert reasons[0] in _resolve(document, listed)["x-error-reasons"], (
        f"{reasons[0]} is not listed for {response.status_code}"
    )
