import { defineConfig } from "vite";

// The development server passes what belongs to flagent-cdc on to it.
const target = process.env.FLAGENT_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic" } },
  server: { proxy: { "/ws": { target, ws: true }, "/api": { target } } },
});
