// node asyncapi.mjs <document>: says what AsyncAPI's own schema of version 3.0.0 has against it.
import { readFileSync } from "node:fs";
import specs from "@asyncapi/specs";
import Ajv from "ajv";

const ajv = new Ajv({ allErrors: true, strict: false, validateFormats: false });
const valid = ajv.validate(
  specs.schemasWithoutId["3.0.0"],
  JSON.parse(readFileSync(process.argv[2], "utf8")),
);
if (!valid) {
  console.error(ajv.errorsText(ajv.errors, { separator: "\n" }));
  process.exit(1);
}
