// The vectors that all SDKs share.
import { readFileSync } from "node:fs";

const root = new URL("../../../", import.meta.url);

export const vectors = (name) => JSON.parse(readFileSync(new URL(`sdk/vectors/${name}.json`, root), "utf8"));
export const evaluationVectors = () => JSON.parse(readFileSync(new URL("tests/vectors/evaluation_vectors.json", root), "utf8"));
