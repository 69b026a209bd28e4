import type { ScalekitEvent } from "./events.js";

export type * from "./events.js";

/** The type of an event, such as `organization.sso_enabled`. */
export type EventType = ScalekitEvent["detail-type"];

/** The event of a type, or the union of the events of several types. */
export type EventOf<T extends EventType> = Extract<ScalekitEvent, { "detail-type": T }>;

/** All types in the catalogue. */
export declare const EVENT_TYPES: readonly EventType[];

/**
 * Returns the event if its `detail-type` is one of `types`, after validating it. Returns `undefined` for every other
 * `detail-type`, in the catalogue or not, and doesn't look at the rest of such an event.
 *
 * The event that is returned is the same object, so members that the types don't declare are kept.
 *
 * @throws {InvalidEventError} if it isn't an event of EventBridge, or isn't valid against the schema of its type.
 */
export declare function parse<T extends EventType>(event: unknown, types: readonly T[]): EventOf<T> | undefined;

/** An event isn't valid. The message consists of the problems. */
export declare class InvalidEventError extends Error {
  /**
   * What is wrong, such as `/detail/data/id is missing`. A problem contains the member's JSON Pointer, and never a value
   * from the event, which could be personal data.
   */
  readonly problems: readonly string[];
}
