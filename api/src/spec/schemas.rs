//! JSON schemas of Rust types, collected as the components of a document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

/// How an [`Operation`](super::operation::Operation) names a type while there is no document.
pub(crate) type Describe = fn(&mut Schemas) -> Value;

/// The components of a document.
#[derive(Default)]
pub(crate) struct Schemas {
    all: BTreeMap<String, Value>,
    /// Schemas of what clients send: unlisted fields are ignored.
    inputs: BTreeSet<String>,
}

impl Schemas {
    /// A reference to the schema of a response: exactly the listed fields, all always present
    /// unless declared optional.
    pub(super) fn output<T: ToSchema>(&mut self) -> Value {
        self.add(T::name().into_owned(), T::schema());
        self.add_parts::<T>();
        json!({ "$ref": format!("#/components/schemas/{}", T::name()) })
    }

    /// The same, as a list.
    pub(super) fn list<T: ToSchema>(&mut self) -> Value {
        json!({ "type": "array", "items": self.output::<T>() })
    }

    /// The schema of a request; only its parts become components.
    pub(super) fn input<T: ToSchema>(&mut self) -> Value {
        let parts = self.add_parts::<T>();
        self.inputs.extend(parts);
        json!(T::schema())
    }

    fn add_parts<T: ToSchema>(&mut self) -> Vec<String> {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        let names = parts.iter().map(|(name, _)| name.clone()).collect();
        parts.into_iter().for_each(|(name, schema)| self.add(name, schema));
        names
    }

    fn add(&mut self, name: String, schema: RefOr<Schema>) {
        let schema = json!(schema);
        let known = self.all.insert(name.clone(), schema.clone());
        debug_assert!(
            known.is_none_or(|known| known == schema),
            "two types are described as {name}"
        );
    }

    /// The schema behind a reference; otherwise the schema itself.
    pub(super) fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        name.and_then(|name| self.all.get(name)).unwrap_or(schema)
    }

    /// `components.schemas`
    pub(super) fn finish(self) -> Value {
        let finished = self.all.iter().map(|(name, schema)| {
            let mut schema = self.flat(schema);
            if !self.inputs.contains(name) {
                close(&mut schema);
            }
            (name.clone(), schema)
        });
        finished.collect::<Map<_, _>>().into()
    }

    /// A struct that serde flattens, as the one object that it is on the wire; utoipa describes it
    /// as a combination of several.
    fn flat(&self, schema: &Value) -> Value {
        let schema = self.resolve(schema);
        let Some(parts) = schema["allOf"].as_array() else { return schema.clone() };
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in parts {
            let part = self.flat(part);
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        json!({
            "type": "object",
            "description": schema["description"],
            "properties": properties,
            "required": required,
        })
    }
}

/// An object that has exactly these fields.
pub(super) fn exactly(properties: Value) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": false })
}

/// Forbids unlisted fields, and requires nullable ones: null, not absent
/// (docs/contract.md#notation).
fn close(schema: &mut Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let nullable: Vec<Value> = properties
        .iter()
        .filter(|(_, field)| may_be_null(field))
        .map(|(name, _)| json!(name))
        .collect();
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    required.extend(nullable);
    schema["required"] = required.into();
    schema["additionalProperties"] = false.into();
}

fn may_be_null(schema: &Value) -> bool {
    let says_null = |value: &Value| value == "null" || value["type"] == "null";
    ["type", "oneOf"]
        .iter()
        .any(|word| schema[word].as_array().is_some_and(|of| of.iter().any(says_null)))
}
