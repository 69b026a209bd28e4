import { definitions, names } from "./schemas.js";

export const EVENT_TYPES = Object.freeze(Object.keys(names));

export class InvalidEventError extends Error {
  constructor(problems) {
    super(problems.join("; "));
    this.name = "InvalidEventError";
    this.problems = problems;
  }
}

export function parse(event, types) {
  const type = event?.["detail-type"];
  if (typeof type !== "string") throw new InvalidEventError(["/detail-type must be a string"]);
  if (!types.includes(type)) return undefined;
  if (!Object.hasOwn(names, type)) throw new TypeError(`scalekit-events doesn't know the type ${type}`);
  const problems = [...violations(event, definitions[names[type]], "")];
  if (problems.length > 0) throw new InvalidEventError(problems);
  return event;
}

// Checks a value by the keywords that the schemas contain. The build fails if the schemas contain another one.
function* violations(value, schema, pointer) {
  if (schema.$ref) return yield* violations(value, definitions[schema.$ref], pointer);
  if (schema.anyOf) {
    const alternatives = schema.anyOf.map((alternative) => [...violations(value, alternative, pointer)]);
    if (alternatives.every((it) => it.length > 0)) yield* alternatives[0];
    return;
  }
  const types = [schema.type ?? []].flat();
  if (types.length > 0 && !types.includes(jsonType(value))) {
    yield `${pointer} must be ${types.join(" or ")}`;
    return;
  }
  if (schema.enum && !schema.enum.includes(value)) yield `${pointer} must be ${schema.enum.join(" or ")}`;
  if (schema.pattern && !new RegExp(schema.pattern, "u").test(value)) yield `${pointer} must match ${schema.pattern}`;
  for (const name of schema.required ?? []) {
    if (value[name] === undefined) yield `${pointer}/${name} is missing`;
  }
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    if (value?.[name] !== undefined) yield* violations(value[name], member, `${pointer}/${name}`);
  }
  if (schema.items && Array.isArray(value)) {
    for (const [position, item] of value.entries()) yield* violations(item, schema.items, `${pointer}/${position}`);
  }
}

function jsonType(value) {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}
