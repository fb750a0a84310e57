//! The documents for people: one page without scripts, made of the documents themselves, that needs
//! nothing from anywhere else.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::openapi::METHODS;

/// How the page looks.
const STYLE: &str = include_str!("reference.css");

/// The page.
pub(super) fn render(openapi: &Value, asyncapi: &Value) -> String {
    let (http, sockets) = (Pen { document: openapi }, Pen { document: asyncapi });
    let (mut index, mut body) = (String::new(), String::new());
    for tag in list(&openapi["tags"]) {
        let (name, about) = (text(&tag["name"]), text(&tag["description"]));
        let _ = write!(index, "<h2>{}</h2>", escape(name));
        let _ = write!(body, "<h2>{}</h2><p>{}</p>", escape(name), prose(about));
        for (path, item) in entries(&openapi["paths"]) {
            for method in METHODS {
                let operation = &item[method];
                if list(&operation["tags"]).iter().any(|of| of == name) {
                    index.push_str(&link(
                        text(&operation["operationId"]),
                        text(&operation["summary"]),
                    ));
                    body.push_str(&http.operation(method, path, operation));
                }
            }
        }
    }
    for (heading, action) in
        [("Commands over Socket.IO", "receive"), ("What clients are told", "send")]
    {
        let _ = write!(index, "<h2>{heading}</h2>");
        let _ = write!(body, "<h2>{heading}</h2>");
        if action == "receive" {
            let _ = write!(body, "<p>{}</p>", prose(text(&asyncapi["info"]["description"])));
        }
        for (name, operation) in entries(&asyncapi["operations"]) {
            if operation["action"] == action {
                index.push_str(&link(&format!("socket-{name}"), name));
                body.push_str(&sockets.message(name, operation));
            }
        }
    }
    let _ = write!(index, "<h2>Types</h2>{}", link("types", "Kinds of values"));
    let _ = write!(body, "<h2 id=types>Kinds of values</h2><table>{}</table>", http.types());
    let about = prose(text(&openapi["info"]["description"]));
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>Nexus API</title>\
         <style>{STYLE}</style><nav><h1>Nexus API</h1>{index}</nav><main><p>{about}</p>\
         <p>For programs: <a href=openapi.json>openapi.json</a>, <a href=asyncapi.json>asyncapi.json</a>.</p>{body}</main></html>"
    )
}

/// Writes what a document describes.
struct Pen<'a> {
    document: &'a Value,
}

impl<'a> Pen<'a> {
    fn operation(&self, method: &str, path: &str, operation: &'a Value) -> String {
        let id = text(&operation["operationId"]);
        let who = match list(&operation["security"]) {
            [] => "",
            [_] => "<small>needs an access token</small>",
            _ => "<small>more with an access token</small>",
        };
        let (method, path) = (method.to_uppercase(), escape(path));
        let mut html = format!(
            "<section id={id}><h3><b class={method}>{method}</b> <code>{path}</code> {who}</h3>{}",
            introduction(operation)
        );
        let parameters = list(&operation["parameters"]).iter().map(|parameter| {
            let parameter = self.resolve(parameter);
            let required = parameter["required"] == true;
            let about = text(&parameter["description"]);
            self.field(
                text(&parameter["name"]),
                text(&parameter["in"]),
                required,
                &parameter["schema"],
                about,
            )
        });
        let body = &operation["requestBody"]["content"]["application/json"]["schema"];
        let rows = parameters.collect::<String>() + &self.fields(body, "body");
        if !rows.is_empty() {
            let _ = write!(html, "<table>{rows}</table>");
        }
        if body.is_object() {
            html.push_str(&any_of(body));
            let _ = write!(html, "<pre>{}</pre>", escape(&format!("{:#}", self.example(body))));
        }
        let mut failures = String::new();
        for (status, response) in entries(&operation["responses"]) {
            let about = prose(text(&response["description"]));
            let schema = &response["content"]["application/json"]["schema"];
            // Failures all look the same.
            if schema["allOf"].is_array() {
                let _ = write!(failures, "<tr><td><b>{status}</b><td>{about}");
            } else {
                let _ = write!(html, "<p><b>{status}</b> {about}</p>{}", self.block(schema));
            }
        }
        if !failures.is_empty() {
            let _ = write!(
                html,
                "<details><summary>Failures</summary><table>{failures}</table></details>"
            );
        }
        html + "</section>"
    }

    fn message(&self, name: &str, operation: &'a Value) -> String {
        let message = &self.resolve(&operation["messages"][0])["payload"];
        let mut html = format!(
            "<section id=\"socket-{name}\"><h3><code>{name}</code></h3>{}",
            introduction(operation)
        );
        let rows = self.fields(message, "");
        if operation["action"] == "receive" && !rows.is_empty() {
            let _ = write!(html, "<table>{rows}</table>{}", any_of(message));
        } else {
            html.push_str(&self.block(message));
        }
        for reply in list(&operation["reply"]["messages"]) {
            let reply = self.resolve(reply);
            let (name, shape) = (text(&reply["name"]), self.block(&reply["payload"]));
            let _ = write!(html, "<p><b>{name}</b></p>{shape}");
        }
        html + "</section>"
    }

    fn fields(&self, schema: &'a Value, place: &str) -> String {
        let required = list(&schema["required"]);
        let fields = entries(&schema["properties"]).map(|(name, field)| {
            let about = text(&field["description"]);
            self.field(name, place, required.iter().any(|of| of == name), field, about)
        });
        fields.collect()
    }

    fn field(
        &self,
        name: &str,
        place: &str,
        required: bool,
        schema: &'a Value,
        about: &str,
    ) -> String {
        let required = if required { "required" } else { "" };
        let (kind, rules, about) = (escape(&self.shape(schema, 0)), rules(schema), prose(about));
        format!(
            "<tr><td><code>{name}</code><td>{place}<td>{required}<td><code>{kind}</code> {rules}<td>{about}"
        )
    }

    fn types(&self) -> String {
        let kinds = entries(&self.document["components"]["schemas"]);
        let simple = kinds.filter(|(_, schema)| !schema["properties"].is_object());
        let described = simple.map(|(name, schema)| {
            let (about, kind, rules) = (
                prose(text(&schema["description"])),
                escape(&self.shape(schema, 0)),
                rules(schema),
            );
            format!("<tr><td><b>{name}</b><td><code>{kind}</code> {rules}<td>{about}")
        });
        described.collect()
    }

    fn block(&self, schema: &'a Value) -> String {
        format!("<pre>{}</pre>", escape(&self.shape(schema, 0)))
    }

    /// A schema as people write one down: `{ id: EventId, name: string | null }`.
    fn shape(&self, schema: &'a Value, depth: usize) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            let named = self.resolve(schema);
            // Deep enough: what holds itself would never end.
            return if named["properties"].is_object() && depth < 6 {
                self.shape(named, depth)
            } else {
                name.to_owned()
            };
        }
        let one_of = |of: &'a [Value]| {
            of.iter().map(|one| self.shape(one, depth)).collect::<Vec<_>>().join(" | ")
        };
        if let Some(constant) = schema.get("const") {
            return constant.to_string();
        }
        if schema["enum"].is_array() {
            return list(&schema["enum"])
                .iter()
                .map(Value::to_string)
                .collect::<Vec<_>>()
                .join(" | ");
        }
        if schema["items"].is_object() {
            return format!("{}[]", self.shape(&schema["items"], depth));
        }
        if schema["properties"].is_object() {
            let required = list(&schema["required"]);
            let indent = "  ".repeat(depth + 1);
            let fields = entries(&schema["properties"]).map(|(name, field)| {
                let mark = if required.iter().any(|of| of == name) { "" } else { "?" };
                format!("{indent}{name}{mark}: {}\n", self.shape(field, depth + 1))
            });
            return format!("{{\n{}{}}}", fields.collect::<String>(), "  ".repeat(depth));
        }
        for word in ["oneOf", "anyOf"] {
            if schema[word].is_array() {
                return one_of(list(&schema[word]));
            }
        }
        match &schema["type"] {
            Value::Array(types) => types.iter().map(text).collect::<Vec<_>>().join(" | "),
            kind => kind.as_str().unwrap_or("any").to_owned(),
        }
    }

    /// Something that a client could send.
    fn example(&self, schema: &'a Value) -> Value {
        let schema = self.resolve(schema);
        let given = schema
            .get("example")
            .or_else(|| schema["examples"].get(0))
            .or_else(|| schema["enum"].get(0));
        if let Some(given) = given {
            return given.clone();
        }
        if schema["properties"].is_object() {
            let required = list(&schema["required"]);
            let sent = entries(&schema["properties"]).filter(|(name, field)| {
                required.iter().any(|of| of == name) || field.get("example").is_some()
            });
            return sent
                .map(|(name, field)| (name.to_owned(), self.example(field)))
                .collect::<Map<_, _>>()
                .into();
        }
        for word in ["oneOf", "anyOf"] {
            let not_null = list(&schema[word]).iter().find(|one| one["type"] != "null");
            if let Some(one) = not_null {
                return self.example(one);
            }
        }
        match text(schema["type"].get(0).unwrap_or(&schema["type"])) {
            "array" => Value::Array(vec![self.example(&schema["items"])]),
            "integer" => 1.into(),
            "number" => 1500.5.into(),
            "boolean" => true.into(),
            _ => "…".into(),
        }
    }

    fn resolve(&self, value: &'a Value) -> &'a Value {
        let target =
            value["$ref"].as_str().and_then(|path| self.document.pointer(path.strip_prefix('#')?));
        target.unwrap_or(value)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn introduction(operation: &Value) -> String {
    let (summary, description) = (text(&operation["summary"]), text(&operation["description"]));
    format!("<p><b>{}.</b> {}</p>", prose(summary.trim_end_matches('.')), prose(description))
}

fn any_of(schema: &Value) -> String {
    let fields: Vec<&str> =
        list(&schema["anyOf"]).iter().map(|one| text(&one["required"][0])).collect();
    if fields.is_empty() {
        String::new()
    } else {
        format!("<p>At least one of <code>{}</code>.</p>", fields.join(", "))
    }
}

/// What a value has to be beyond its type.
fn rules(schema: &Value) -> String {
    const RULES: [&str; 9] = [
        "format",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "default",
    ];
    let said = RULES.iter().filter_map(|rule| Some(format!("{rule} {}", schema.get(rule)?)));
    format!("<small>{}</small>", escape(&said.collect::<Vec<_>>().join(", ")))
}

fn link(id: &str, label: &str) -> String {
    format!("<a href=\"#{id}\">{}</a>", escape(label))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The little Markdown that descriptions have: code, and lists.
fn prose(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let (item, line) = line.strip_prefix("- ").map_or(("", line), |item| ("<br>", item));
        let pieces = escape(line);
        let pieces = pieces.split('`').enumerate();
        let code = pieces.map(|(nth, piece)| {
            if nth % 2 == 1 { format!("<code>{piece}</code>") } else { piece.to_owned() }
        });
        item.to_owned() + &code.collect::<String>()
    });
    lines.collect::<Vec<_>>().join(" ")
}

/// The page has its style in itself, and nothing else.
pub(crate) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let style = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
        )
    });
    &POLICY
}
