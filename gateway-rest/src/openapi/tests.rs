use std::path::Path;

use prost_reflect::DescriptorPool;
use serde_json::{Value, json};

use super::{ErrorReason, KeyUse, Operation, SecretUse, Settings, document};

fn described(settings: &Settings) -> Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler =
        protox::Compiler::new([here.join("tests/proto"), here.join("../third_party")]).unwrap();
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_file("described.proto")
        .unwrap();
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
    document(&pool, settings).unwrap()
}

fn parameter<'d>(document: &'d Value, path: &str, verb: &str, name: &str) -> &'d Value {
    let parameters = document["paths"][path][verb]["parameters"]
        .as_array()
        .unwrap();
    parameters
        .iter()
        .find(|parameter| parameter["name"] == name)
        .unwrap_or_else(|| panic!("no {name}: {parameters:?}"))
}

#[test]
fn descriptors_alone_make_a_document() {
    let document = described(&Settings::default());
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(
        paths,
        [
            "/v1/books",
            "/v1/books:watch",
            "/v1/shelves/{shelfId}/books",
            "/v1/{parent}/books"
        ],
        "RPCs without a binding are left out, and templates that differ only in names are one path"
    );
    let create = &document["paths"]["/v1/shelves/{shelfId}/books"]["post"];
    assert_eq!(create["summary"], "Writes a book");
    assert_eq!(create["description"], "Writes a book. It is there at once.");
    assert_eq!(
        create["x-grpc-method"],
        "described.v1.BookService/CreateBook"
    );
    assert_eq!(
        create["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/Book"
    );
    assert_eq!(
        document["paths"]["/v1/books"]["get"]["operationId"],
        "BookService_ListBooks_2"
    );
}

#[test]
fn rules_become_keywords() {
    let document = described(&Settings::default());
    let body = &document["components"]["schemas"]["CreateBookRequestBody"];
    let of = |name: &str| &body["properties"][name];
    assert_eq!(
        of("shelfId"),
        &Value::Null,
        "what is in the path is not in the body"
    );
    assert_eq!(
        (
            &of("title")["minLength"],
            &of("title")["maxLength"],
            &of("title")["pattern"]
        ),
        (&json!(1), &json!(10), &json!("^D\\."))
    );
    assert_eq!(
        (
            &of("tags")["maxItems"],
            &of("tags")["uniqueItems"],
            &of("tags")["items"]["maxLength"]
        ),
        (&json!(3), &json!(true), &json!(4))
    );
    assert_eq!(
        (&of("pages")["exclusiveMinimum"], &of("pages")["maximum"]),
        (&json!(0), &json!(900))
    );
    assert_eq!(
        of("price")["x-rules"],
        json!([{"id": "int64.gte", "value": 1}]),
        "text has no bounds"
    );
    assert_eq!(of("genre")["enum"], json!(["GENRE_FICTION"]));
    assert_eq!(of("url")["format"], "uri");
    assert_eq!(
        body["required"],
        json!(["title", "pages", "price", "genre"]),
        "zero would break their rules"
    );
    assert_eq!(body["additionalProperties"], false);
    assert_eq!(
        body["allOf"][0]["oneOf"].as_array().unwrap().len(),
        3,
        "one, the other or none"
    );
    let path = parameter(&document, "/v1/shelves/{shelfId}/books", "post", "shelfId");
    assert_eq!(
        (&path["in"], &path["required"], &path["schema"]["format"]),
        (&json!("path"), &json!(true), &json!("uuid"))
    );
    assert_eq!(
        document["components"]["schemas"]["Genre"]["x-enum-descriptions"]["GENRE_FICTION"],
        "About what may come."
    );
}

#[test]
fn replies_patches_queries_and_streams() {
    let document = described(&Settings::default());
    let book = &document["components"]["schemas"]["Book"];
    assert_eq!(book["properties"]["id"]["readOnly"], true);
    assert_eq!(
        book["properties"]["sales"]["additionalProperties"]["format"],
        "int64"
    );
    assert_eq!(
        book["properties"]["sequel"]["$ref"],
        "#/components/schemas/Book"
    );
    let patch = &document["components"]["schemas"]["BookPatch"];
    let names: Vec<&String> = patch["properties"].as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        ["edition", "sales", "sequel", "title", "writeTime"],
        "what a client may change"
    );
    assert_eq!(patch["required"], Value::Null);
    let update = &document["paths"]["/v1/shelves/{shelfId}/books"]["patch"];
    assert_eq!(
        update["requestBody"]["content"]["application/json"]["schema"]["$ref"],
        "#/components/schemas/BookPatch"
    );
    assert_eq!(
        parameter(
            &document,
            "/v1/shelves/{shelfId}/books",
            "patch",
            "updateMask"
        )["in"],
        "query"
    );
    assert_eq!(
        parameter(&document, "/v1/{parent}/books", "get", "parent")["schema"]["pattern"],
        "^shelves/[^/]+$"
    );
    let genres = parameter(&document, "/v1/books", "get", "filter.genres");
    assert_eq!(
        (&genres["style"], &genres["explode"]),
        (&json!("form"), &json!(true))
    );
    assert_eq!(
        parameter(&document, "/v1/books", "get", "filter.since")["schema"]["format"],
        "date-time"
    );
    assert_eq!(
        document["paths"]["/v1/books"]["get"]["x-speakeasy-pagination"]["outputs"]["results"],
        "$.books"
    );
    let watch = &document["paths"]["/v1/books:watch"]["get"];
    let kinds: Vec<&String> = watch["responses"]["200"]["content"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(kinds, ["application/x-ndjson", "text/event-stream"]);
    let resume = parameter(&document, "/v1/books:watch", "get", "Last-Event-ID");
    let cursor = parameter(&document, "/v1/books:watch", "get", "cursor");
    assert_eq!(resume["in"], "header");
    assert_eq!(resume["schema"], cursor["schema"]);
    assert_eq!(resume["schema"]["maxLength"], 100);
}

#[test]
fn settings_say_what_descriptors_cannot() {
    let mut settings = Settings::default();
    settings.secrets.insert(
        "described.v1.CreateBookRequest.title".to_owned(),
        SecretUse::Sent,
    );
    settings.reasons.insert(
        "SHELF_FULL".to_owned(),
        ErrorReason {
            code: tonic::Code::Aborted,
            meaning: "No room.".to_owned(),
            remedy: "Wait.".to_owned(),
            retry: "CALL".to_owned(),
            repeat: true,
            metadata_keys: vec!["shelf".to_owned()],
        },
    );
    settings.operations.insert(
        "described.v1.BookService.CreateBook".to_owned(),
        Operation {
            security: Some(vec![json!({"key": []})]),
            key: KeyUse::Required,
            reasons: vec!["SHELF_FULL".to_owned()],
            ..Operation::default()
        },
    );
    let document = described(&settings);
    let create = &document["paths"]["/v1/shelves/{shelfId}/books"]["post"];
    assert_eq!(create["security"], json!([{"key": []}]));
    assert_eq!(create["x-speakeasy-retries"]["statusCodes"], json!(["409"]));
    let full = create["responses"]["409"]["$ref"].as_str().unwrap();
    let full = document.pointer(full.trim_start_matches('#')).unwrap();
    assert_eq!(full["x-error-reasons"], json!(["SHELF_FULL"]));
    assert_eq!(
        full["description"],
        "- `SHELF_FULL`: No room. Wait. Retry: CALL."
    );
    assert_eq!(document["x-error-reasons"]["SHELF_FULL"]["status"], 409);
    let title = &document["components"]["schemas"]["CreateBookRequestBody"]["properties"]["title"];
    assert_eq!(
        (&title["writeOnly"], &title["format"]),
        (&json!(true), &json!("password"))
    );
    let others = &document["paths"]["/v1/books"]["get"]["responses"];
    assert_eq!(
        others["409"],
        Value::Null,
        "what another call declares is not this one's"
    );
}
