/** One connection for all tabs of an origin. */
export { shareTabs } from "./shared-connection.js";
export type { ConnectionSharing } from "./client-connection.js";
