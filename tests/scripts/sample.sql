-- A little of everything that a dump can get wrong, and enough of it (some MB) to be cut in the middle.
CREATE EXTENSION pg_trgm;
CREATE EXTENSION citext;
CREATE SEQUENCE numero_dossier START 100000 INCREMENT 5;
CREATE TABLE patients (
    id bigserial PRIMARY KEY, nom text NOT NULL, email citext, photo bytea, notes jsonb, supprime_le timestamptz
);
CREATE TABLE "Réclamations" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    patient_id bigint NOT NULL REFERENCES patients,
    dossier bigint NOT NULL DEFAULT nextval('numero_dossier'),
    "Motif d'accès" text
);
CREATE TABLE vide ();
-- PostgreSQL prints these otherwise once they were restored: casts and brackets in other places.
CREATE TABLE visites (
    motif varchar(9) NOT NULL CHECK (motif IN ('contrôle', 'urgence')), lieu varchar(20)
);
CREATE INDEX ON visites (lieu) WHERE lieu IN ('ici', 'ailleurs');
CREATE TABLE scans (objet oid PRIMARY KEY);
CREATE INDEX ON patients USING gin (nom gin_trgm_ops);
CREATE VIEW ouvertes AS SELECT p.nom, r."Motif d'accès" FROM patients p JOIN "Réclamations" r ON r.patient_id = p.id;
CREATE FUNCTION initiale(nom text) RETURNS text LANGUAGE sql AS $$ SELECT left(nom, 1) || '.' $$;
COMMENT ON TABLE patients IS 'L''âme du système';
INSERT INTO patients (nom, email, photo, notes)
SELECT 'Zoë Müller-Lefèvre n° ' || i, 'P' || i || '@example.com', decode(repeat(md5(i::text), 4), 'hex'),
       CASE WHEN i % 3 = 0 THEN jsonb_build_object('é', i, 'tabulation', E'\t\\', 'rien', NULL) END
  FROM generate_series(1, 20000) i;
INSERT INTO "Réclamations" (patient_id, "Motif d'accès")
SELECT 1 + i % 20000, 'Attente aux urgences, ' || md5(i::text) FROM generate_series(1, 30000) i;
INSERT INTO scans SELECT lo_from_bytea(0, decode(repeat(md5(i::text), 3000), 'hex')) FROM generate_series(1, 3) i;
