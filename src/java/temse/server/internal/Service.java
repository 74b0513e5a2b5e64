package temse.server.internal;

import temse.server.EngineOptions;
import temse.server.MilterFactory;
import temse.server.ServerListener;

/**
 * What serves connections: what may change while they are open.
 *
 * @param factory makes their handlers
 * @param options how they are served
 * @param listener receives what happens
 */
public record Service(MilterFactory factory, EngineOptions options, ServerListener listener) {}
