//! Checks everything that the API sends in a test against its documents: `nexus-api openapi` for
//! HTTP, `nexus-api asyncapi` for Socket.IO. Accepted requests are checked, too: a document must
//! not ask for more than the API does.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use reqwest::{Method, Request};
use serde_json::{Value, json};

use crate::program::{binary, command};
use crate::response::Response;

/// The OpenAPI document.
pub static OPENAPI: LazyLock<Document> = LazyLock::new(|| Document::print("openapi"));
/// The AsyncAPI document.
pub static ASYNCAPI: LazyLock<Document> = LazyLock::new(|| Document::print("asyncapi"));

/// A document, and the validators of those of its schemas that were needed so far.
#[derive(Debug)]
pub struct Document {
    /// All of it.
    pub whole: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Document {
    fn print(name: &str) -> Self {
        let output = command(&binary("nexus-api"), Path::new("/"), &vec![])
            .arg(name)
            .output()
            .expect("nexus-api");
        assert!(
            output.status.success(),
            "nexus-api {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            whole: serde_json::from_slice(&output.stdout).expect("JSON"),
            validators: Mutex::default(),
        }
    }

    /// The value at a path of names.
    pub fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(&self.whole, |value, name| &value[name])
    }

    /// Checks a value against the schema there.
    fn check(&self, path: &[&str], value: &Value) -> Result<(), String> {
        let validator = {
            let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
            validators.entry(path.join(" ")).or_insert_with(|| self.compile(path)).clone()
        };
        let errors =
            validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path()));
        let errors: Vec<_> = errors.collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("\n")) }
    }

    fn compile(&self, path: &[&str]) -> Arc<Validator> {
        // Its references lead to the components.
        let schema = json!({ "allOf": [self.at(path)], "components": self.whole["components"] });
        let validator = jsonschema::options().should_validate_formats(true).build(&schema);
        Arc::new(validator.unwrap_or_else(|error| panic!("{path:?}: {error}")))
    }

    /// The template of a path, if there is one; words win over parameters.
    fn template(&self, path: &str) -> Option<&str> {
        let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let fits = |template: &&String| {
            let names: Vec<&str> = template.trim_end_matches('/').split('/').collect();
            let mut pairs = names.iter().zip(&segments);
            names.len() == segments.len()
                && pairs.all(|(name, segment)| {
                    name.starts_with('{') || name.eq_ignore_ascii_case(segment)
                })
        };
        let templates = self.whole["paths"].as_object().expect("paths").keys().filter(fits);
        templates.min_by_key(|template| template.matches('{').count()).map(String::as_str)
    }
}

/// An operation that exists, a status that is documented, and exactly the headers and the body that
/// go with it.
pub fn check_response(request: &Request, response: &Response) {
    let (method, path) = (request.method(), request.url().path());
    let is_ours = path.to_ascii_lowercase().starts_with("/api/v1")
        || response.headers.contains_key("x-request-id");
    if !is_ours || matches!(*method, Method::OPTIONS | Method::HEAD) {
        return;
    }
    let method = method.as_str().to_ascii_lowercase();
    let Some(template) = OPENAPI.template(path) else {
        // The operators' pages are not part of the API.
        let is_api = path.to_ascii_lowercase().starts_with("/api");
        return assert!(
            !is_api || response.body["error"]["code"] == "route_not_found",
            "undocumented: {response}"
        );
    };
    let operation = OPENAPI.at(&["paths", template, &method]);
    if operation.is_null() {
        return assert_eq!(
            response.body["error"]["code"], "method_not_allowed",
            "undocumented: {response}"
        );
    }
    let status = response.status.to_string();
    let documented = &operation["responses"][&status];
    assert!(documented.is_object(), "this status is not documented: {response}");

    for name in documented["headers"].as_object().expect("headers").keys() {
        let header = response.headers.get(name).map(|value| value.to_str().expect("a header"));
        check_header(name, header)
            .unwrap_or_else(|problem| panic!("header {name}: {problem}\n{response}"));
    }
    if documented["content"].is_null() {
        return assert_eq!(response.text, "", "{response}");
    }
    let told = response.headers.get("content-type").and_then(|value| value.to_str().ok());
    let told = told.and_then(|value| value.split(';').next()).unwrap_or_default();
    assert!(documented["content"][told].is_object(), "{told} is not documented: {response}");
    let body =
        if told == "application/json" { response.body.clone() } else { json!(response.text) };
    let schema = ["paths", template, &method, "responses", &status, "content", told, "schema"];
    OPENAPI.check(&schema, &body).unwrap_or_else(|problem| panic!("{problem}\n{response}"));

    if response.status == 200
        && let Some(sent) = request.body().and_then(reqwest::Body::as_bytes)
        && operation["requestBody"].is_object()
    {
        let sent = serde_json::from_slice(sent).unwrap_or(Value::Null);
        let schema =
            ["paths", template, &method, "requestBody", "content", "application/json", "schema"];
        OPENAPI
            .check(&schema, &sent)
            .unwrap_or_else(|problem| panic!("{problem}\nbut accepted: {sent}\n{response}"));
    }
}

fn check_header(name: &str, value: Option<&str>) -> Result<(), String> {
    let path = ["components", "headers", name];
    let Some(value) = value else {
        return if OPENAPI.at(&path)["required"] == true { Err("missing".into()) } else { Ok(()) };
    };
    let schema = [path.as_slice(), &["schema"]].concat();
    let value = match OPENAPI.at(&schema)["type"].as_str() {
        Some("integer") => value.parse::<i64>().map_err(|error| error.to_string())?.into(),
        _ => json!(value),
    };
    OPENAPI.check(&schema, &value)
}

/// A name that is documented, and its payload.
pub fn check_event(line: &Value) {
    let name = line["event"].as_str().expect("a name");
    let payload = ["channels", "nexus", "messages", name, "payload"];
    assert!(ASYNCAPI.at(&payload).is_object(), "this event is not documented: {line}");
    ASYNCAPI
        .check(&payload, &line["args"][0])
        .unwrap_or_else(|problem| panic!("{problem}\n{line}"));
    assert_eq!(line["args"].as_array().map(Vec::len), Some(1), "an event has one argument: {line}");
}

/// Checks a response to a command and, if it is a success, the command's payload.
pub fn check_acknowledgement(command: &str, arguments: &[Value], response: &Value) {
    check_event(&json!({ "event": format!("{command}_response"), "args": [response] }));
    if response["success"] == true {
        let payload = ["channels", "nexus", "messages", command, "payload"];
        ASYNCAPI
            .check(&payload, arguments.first().unwrap_or(&Value::Null))
            .unwrap_or_else(|problem| panic!("{problem}\nbut accepted: {command} {arguments:?}"));
    }
}
