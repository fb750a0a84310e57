//! The documents for people: Swagger UI, where they can try requests, and a page about Socket.IO,
//! which Swagger UI does not show. Neither loads anything from other servers.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

/// Files of the pages, by name: npm's swagger-ui-dist, its start script, and our style.
pub(crate) const FILES: [(&str, &str, &str); 4] = [
    (
        "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        include_str!("../../assets/swagger-ui/swagger-ui-bundle.js"),
    ),
    (
        "swagger-ui.css",
        "text/css; charset=utf-8",
        include_str!("../../assets/swagger-ui/swagger-ui.css"),
    ),
    (
        "start.js",
        "text/javascript; charset=utf-8",
        include_str!("../../assets/swagger-ui/start.js"),
    ),
    ("socketio.css", "text/css; charset=utf-8", include_str!("socketio.css")),
];

/// What the pages may load: our files, and the pictures in Swagger UI's style.
pub(crate) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

/// Where a file is. Another release is another address, as browsers keep files for a day.
fn file(name: &str) -> String {
    format!("/docs/{name}?{}", env!("CARGO_PKG_VERSION"))
}

fn frame(title: &str, style: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href=(file(style));
            }
            body { (content) }
        }
    }
}

/// The page about HTTP.
pub(crate) fn http() -> Markup {
    let content = html! {
        div id="swagger-ui" {}
        script src=(file("swagger-ui-bundle.js")) {}
        script src=(file("start.js")) {}
    };
    frame("Nexus API", "swagger-ui.css", &content)
}

/// The page about Socket.IO.
pub(super) fn socketio(asyncapi: &Value) -> Markup {
    let document = Document(asyncapi);
    let sections = [("Commands", "receive"), ("Broadcasts", "send")];
    let content = html! {
        nav {
            h1 { "Socket.IO" }
            a href="/docs" { "HTTP" }
            @for (heading, action) in sections {
                h2 { (heading) }
                @for (name, _) in document.operations(action) {
                    a href={ "#" (name) } { (name) }
                }
            }
        }
        main {
            p { (text(&asyncapi["info"]["description"])) }
            p { "For programs: " a href="/asyncapi.json" { "asyncapi.json" } "." }
            @for (heading, action) in sections {
                h2 { (heading) }
                @for (name, operation) in document.operations(action) {
                    (document.operation(name, operation))
                }
            }
        }
    };
    frame("Nexus over Socket.IO", "socketio.css", &content)
}

struct Document<'a>(&'a Value);

impl<'a> Document<'a> {
    fn operations(&self, action: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        entries(&self.0["operations"]).filter(move |(_, operation)| operation["action"] == action)
    }

    fn operation(&self, name: &str, operation: &'a Value) -> Markup {
        let messages = list(&operation["messages"]).iter();
        let replies = list(&operation["reply"]["messages"]).iter();
        html! {
            section id=(name) {
                h3 { code { (name) } }
                p { b { (text(&operation["summary"])) } " " (text(&operation["description"])) }
                @for message in messages.chain(replies).map(|message| self.resolve(message)) {
                    p { code { (text(&message["name"])) } }
                    pre { (self.shape(&message["payload"], 0)) }
                }
            }
        }
    }

    /// A schema as people write one down: `{ id: EventId, name: string | null }`.
    fn shape(&self, schema: &'a Value, depth: usize) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
            let named = self.resolve(schema);
            // Deep enough: a schema that contains itself would never end.
            return if named["properties"].is_object() && depth < 6 {
                self.shape(named, depth)
            } else {
                name.to_owned()
            };
        }
        if let Some(constant) = schema.get("const") {
            return constant.to_string();
        }
        if schema["enum"].is_array() {
            return either(list(&schema["enum"]).iter().map(Value::to_string));
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
                return either(list(&schema[word]).iter().map(|one| self.shape(one, depth)));
            }
        }
        match &schema["type"] {
            Value::Array(types) => either(types.iter().map(|one| text(one).to_owned())),
            kind => kind.as_str().unwrap_or("any").to_owned(),
        }
    }

    fn resolve(&self, value: &'a Value) -> &'a Value {
        let path = value["$ref"].as_str().and_then(|path| path.strip_prefix('#'));
        path.and_then(|path| self.0.pointer(path)).unwrap_or(value)
    }
}

fn either(shapes: impl Iterator<Item = String>) -> String {
    shapes.collect::<Vec<_>>().join(" | ")
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
